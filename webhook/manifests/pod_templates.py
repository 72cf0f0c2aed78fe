"""Find pod templates by their shape, in objects of any kind.

A pod template is an object with `spec.containers`, a list of containers, below the root of an object:
`spec.template` (Argo Rollouts, Knative, OpenKruise), `spec.replicatedJobs[].template.spec.template` (JobSet),
`spec.tasks[].template` (Volcano), `spec.leaderWorkerTemplate.workerTemplate` (LeaderWorkerSet) and so on. The
`spec.containers` of an object itself is not one (SidecarSet, Prometheus), unless the object is a Pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from common.pod_keys import NETWORKS

MAX_DEPTH = 16
"""Keys and indices below an object's root: a JobSet has its pods at 6, a CronJob in a ManifestWork at 8."""

Place = tuple[str | int, ...]
"""Keys and indices from a root."""
Fields = Mapping[str, msgspec.Raw]

POD_ANNOTATIONS = ("metadata", "annotations")
"""Where a pod (template) has its annotations."""

_NO_WORKLOADS = frozenset(
    {
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "constraints.gatekeeper.sh",
        "kyverno.io",
        "mutations.gatekeeper.sh",
        "policies.kyverno.io",
        "templates.gatekeeper.sh",
    }
)
"""API groups of schemas and policies: what looks like a pod template there is a pattern."""
_HISTORY = ("apps", "ControllerRevision")
"""Copies of the pod templates of StatefulSets and DaemonSets."""

_SKIPPED = frozenset({"status", "managedFields"})
"""Keys under which the API server and controllers keep copies."""
_POD_FIELDS = frozenset(
    {"affinity", "domain", "networks", "nodeSelector", "securityContext", "serviceAccountName", "tolerations"}
    | {"terminationGracePeriodSeconds", "volumes"}
)
"""Fields that tell the spec of a pod, or of KubeVirt's virtual machine, from that of other templates."""
_TEMPLATE_WORDS = (b'"containers"', b'"container"', b'"containerSet"', b'"script"', b'"domain"', b'emplate"')
_SINGLE = ("container", "script")
"""Under these a template of an Argo Workflow has its container."""
_NETWORKS = NETWORKS.encode()


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod template: its place, its JSON, and the namespace of the embedded object that it belongs to."""

    place: Place
    pod: bytes
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Shapes:
    """What an object holds: pod templates, and sentences about what resembles one and is not one."""

    templates: list[PodTemplate] = field(default_factory=list)
    lookalikes: list[str] = field(default_factory=list)


def may_have_templates(group: str, kind: str) -> bool:
    """Return whether a kind may have pod templates that are used."""
    return group not in _NO_WORKLOADS and (group, kind) != _HISTORY


def find_shapes(raw: bytes) -> Shapes:
    """Search an object for pod templates.

    Raises msgspec.DecodeError for invalid JSON, RecursionError if it is nested too deeply.
    """
    found = Shapes()
    _search(raw, (), None, found)
    return found


def find_networks_annotations(raw: bytes, templates: Iterable[Place] = ()) -> list[Place]:
    """Return the maps of an object that have the networks annotation as a key.

    The annotations of its pod templates, which stand at `templates`, are left out. Raises as `find_shapes`.
    """
    right = {(*template, *POD_ANNOTATIONS) for template in templates}
    return [place for place in _annotated(raw, ()) if place not in right]


def dotted(place: Place) -> str:
    """Write a place for users, as in `spec.tasks[0].template`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")


def _search(raw: bytes, place: Place, namespace: str | None, found: Shapes) -> None:
    if not (_is_called_template(place) or _has_any(raw, _TEMPLATE_WORDS)):
        return
    fields = _fields(raw)
    if fields:
        kind = _text(fields, "kind") if "apiVersion" in fields else ""
        if place and kind:
            namespace = _text(_fields(fields.get("metadata")), "namespace") or namespace
        if place and kind in ("", "Pod") and _has_containers(_fields(fields.get("spec"))):
            found.templates.append(PodTemplate(place, bytes(raw), namespace))
            return
        lookalike = _lookalike(fields, place)
        if lookalike is not None:
            found.lookalikes.append(lookalike)
    for key, value in _children(raw, fields, place):
        _search(value, (*place, key), namespace, found)


def _lookalike(fields: Fields, place: Place) -> str | None:
    """Say why an object that describes a pod's containers, or a pod without them, is not a pod template."""
    where = dotted(place)
    if _has_containers(fields):
        return f"{where}.containers is not part of a pod template".removeprefix(".")
    if "containerSet" in fields or any(_is_container(_fields(fields.get(key))) for key in _SINGLE):
        return f"{where} has a container of its own instead of a pod template"
    if place == ("spec",) and {"domain", "networks"} <= fields.keys():
        return f"{where} describes a virtual machine, and is not a pod template"
    if _is_called_template(place):
        spec = _fields(fields.get("spec"))
        if "containers" not in spec and not _POD_FIELDS.isdisjoint(spec):
            return f"{where} is not a pod template: it has no spec.containers"
    return None


def _is_called_template(place: Place) -> bool:
    return bool(place) and str(place[-1]).lower().endswith("template")


def _annotated(raw: bytes, place: Place) -> Iterator[Place]:
    if not _has_any(raw, (_NETWORKS,)):
        return
    fields = _fields(raw)
    if NETWORKS in fields:
        yield place
    for key, value in _children(raw, fields, place):
        yield from _annotated(value, (*place, key))


def _children(raw: bytes, fields: Fields, place: Place) -> Iterator[tuple[str | int, msgspec.Raw]]:
    if len(place) < MAX_DEPTH:
        yield from ((key, value) for key, value in fields.items() if key not in _SKIPPED)
        yield from enumerate(_items(raw))


def _has_containers(spec: Fields) -> bool:
    items = _items(spec.get("containers"))
    return bool(items) and all(_is_container(_fields(item)) for item in items)


def _is_container(fields: Fields) -> bool:
    return "image" in fields or "name" in fields


def _fields(raw: bytes | msgspec.Raw | None) -> Fields:
    """Return the fields of an object, none of anything else."""
    if raw is None or not _starts_with(raw, b"{"):
        return {}
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def _items(raw: bytes | msgspec.Raw | None) -> list[msgspec.Raw]:
    """Return the items of a list, none of anything else."""
    if raw is None or not _starts_with(raw, b"["):
        return []
    return msgspec.json.decode(raw, type=list[msgspec.Raw])


def _text(fields: Fields, key: str) -> str:
    value: Any = msgspec.json.decode(fields[key]) if key in fields else ""
    return value if isinstance(value, str) else ""


def _starts_with(raw: bytes | msgspec.Raw, character: bytes) -> bool:
    # At run time a Raw is a buffer and not a bytes object.
    return bytes(memoryview(raw)[:1]) == character


def _has_any(raw: bytes, words: tuple[bytes, ...]) -> bool:
    """Return whether the text has one of the words; most parts of an input have none, and end a search."""
    text = bytes(raw)
    return any(word in text for word in words)
