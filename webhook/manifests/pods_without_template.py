"""Objects that describe the containers or settings of pods without a pod template.

Such an object makes pods in a way of its own: Tekton's steps, the driver of a SparkApplication, KubeVirt's
virtual machines, the fields of operators. It is named to the user instead of being passed over.
"""

from __future__ import annotations

from webhook.manifests.raw_json import Fields, Place, dotted, fields_of, items_of

_SINGLE = ("container", "script")
"""Under these a template of an Argo Workflow has its container."""
_POD_FIELDS = frozenset(
    {
        "affinity",
        "hostNetwork",
        "imagePullPolicy",
        "imagePullSecrets",
        "initContainers",
        "nodeSelector",
        "podAnnotations",
        "podLabels",
        "podSecurityContext",
        "priorityClassName",
        "runtimeClassName",
        "schedulerName",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
        "volumeMounts",
        "volumes",
    }
)
"""Fields of pods, and what charts and operators call them."""
_TEMPLATE_FIELDS = _POD_FIELDS | {"domain", "networks"}
"""Fields that tell the spec of a pod, or of KubeVirt's virtual machine, from that of other templates."""
_CONTAINER_FIELDS = frozenset(
    {"args", "command", "env", "envFrom", "ports", "resources", "script", "volumeMounts", "workingDir"}
)
_RUN_FIELDS = frozenset({"args", "command", "script", "workingDir"})
_ENOUGH = 2
"""One of the fields alone may be anything: a volume, a list of tolerated faults."""

WORDS = (
    b'"containers"',
    b'"container"',
    b'"containerSet"',
    b'"script"',
    b'"domain"',
    b'"image"',
    b'emplate"',
    *(f'"{field}"'.encode() for field in sorted(_POD_FIELDS)),
)
"""What a part of an object has if it holds a pod template or resembles one."""


def pod_without_template(fields: Fields, place: Place) -> str | None:
    """Say why an object that describes a pod's containers is not a pod template; None if it has none."""
    where = dotted(place)
    for key in fields:
        if _lists_containers(key, fields):
            return f"{dotted((*place, key))} is not part of a pod template"
    if "containerSet" in fields or any(is_container(fields_of(fields.get(key))) for key in _SINGLE):
        return f"{where} has a container of its own instead of a pod template"
    if place == ("spec",) and {"domain", "networks"} <= fields.keys():
        return f"{where} describes a virtual machine, and is not a pod template"
    if is_called_template(place):
        spec = fields_of(fields.get("spec"))
        if "containers" not in spec and not _TEMPLATE_FIELDS.isdisjoint(spec):
            return f"{where} is not a pod template: it has no spec.containers"
    return None


def pod_settings(fields: Fields, place: Place) -> str | None:
    """Say that an object has settings of pods that somebody makes; None if it has none."""
    if not place:
        return None
    if "image" in fields and not _RUN_FIELDS.isdisjoint(fields):
        return f"{dotted(place)} has a container of its own instead of a pod template"
    found = [key for key in fields if key in _POD_FIELDS]
    if len(found) < _ENOUGH:
        return None
    return f"{dotted(place)} has settings of pods ({', '.join(found[:3])}), and is not a pod template"


def is_called_template(place: Place) -> bool:
    """Return whether a place has the name of a template."""
    return bool(place) and str(place[-1]).lower().endswith("template")


def has_containers(spec: Fields) -> bool:
    """Return whether these are the fields of a pod's spec."""
    items = items_of(spec.get("containers"))
    return bool(items) and all(is_container(fields_of(item)) for item in items)


def is_container(fields: Fields) -> bool:
    """Return whether these may be the fields of a container."""
    return "image" in fields or "name" in fields


def _lists_containers(key: str, fields: Fields) -> bool:
    if key == "containers":
        return has_containers(fields)
    items = [fields_of(item) for item in items_of(fields[key])]
    return (
        bool(items)
        and all("image" in item for item in items)
        and not all(_CONTAINER_FIELDS.isdisjoint(item) for item in items)
    )
