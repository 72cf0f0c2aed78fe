"""Find pod templates by their shape, in objects of any kind.

A pod template is an object with `spec.containers`, a list of containers, below the root of an object:
`spec.template` (Argo Rollouts, Knative, OpenKruise), `spec.replicatedJobs[].template.spec.template` (JobSet),
`spec.tasks[].template` (Volcano), `spec.leaderWorkerTemplate.workerTemplate` (LeaderWorkerSet) and so on. The
`spec.containers` of an object itself is not one (SidecarSet, Prometheus), unless the object is a Pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from common.pod_keys import NETWORKS
from webhook.manifests.pods_without_template import (
    WORDS,
    has_containers,
    is_called_template,
    pod_settings,
    pod_without_template,
)
from webhook.manifests.raw_json import (
    Fields,
    Place,
    dotted,
    fields_of,
    has_any,
    items_of,
    starts_with,
    text_in,
)

MAX_DEPTH = 16
"""Keys and indices below an object's root: a JobSet has its pods at 6, a CronJob in a ManifestWork at 8."""

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
_BUILT_IN = frozenset(
    {"", "apps", "autoscaling", "batch", "policy"}
    | {
        f"{name}.k8s.io"
        for name in (
            "apiregistration",
            "authentication",
            "authorization",
            "certificates",
            "coordination",
            "discovery",
            "events",
            "flowcontrol.apiserver",
            "networking",
            "node",
            "rbac.authorization",
            "resource",
            "scheduling",
            "storage",
            "storagemigration",
        )
    }
)
"""API groups of Kubernetes itself: those of its kinds that make pods are known."""
_HISTORY = ("apps", "ControllerRevision")
"""Copies of the pod templates of StatefulSets and DaemonSets."""

_SKIPPED = frozenset({"status", "managedFields"})
"""Keys under which the API server and controllers keep copies."""
_NETWORKS = NETWORKS.encode()


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod template: its place, its JSON, and the namespace of the embedded object that it belongs to."""

    place: Place
    pod: bytes
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Shapes:
    """What an object holds: pod templates, and sentences about what resembles one and is not one.

    `pod_settings` are sentences about settings of pods: beside a pod template they say nothing new.
    """

    templates: list[PodTemplate] = field(default_factory=list)
    without_template: list[str] = field(default_factory=list)
    pod_settings: list[str] = field(default_factory=list)


def may_have_templates(group: str, kind: str) -> bool:
    """Return whether a kind may have pod templates that are used."""
    return group not in _NO_WORKLOADS and (group, kind) != _HISTORY


def may_make_pods(group: str) -> bool:
    """Return whether an object of a group may make pods although it has no pod template."""
    return group not in _BUILT_IN


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


def find_networks_texts(raw: bytes) -> list[Place]:
    """Return where texts name the networks annotation, as in a ConfigMap, values of Helm or a patch.

    Annotations of the object do not count: kubectl keeps a copy of the object there. Raises as `find_shapes`.
    """
    return [place for place in _texts(raw, ()) if place[:1] != ("metadata",)]


def not_understood(raw: bytes, shapes: Shapes, annotated: list[Place], *, makes_pods: bool) -> str | None:
    """Say what of an object is not understood, None for nothing.

    `annotated` are the maps with the networks annotation where there is no pod template; `makes_pods`:
    somebody may make pods by the object. Raises as `find_shapes`.
    """
    if annotated:
        return _out_of_place(annotated[0])
    if shapes.without_template or shapes.templates:
        return next(iter(shapes.without_template), None)
    if texts := find_networks_texts(raw):
        return f"the text at {dotted(texts[0])} names {NETWORKS}, and texts are not read"
    return next(iter(shapes.pod_settings), None) if makes_pods else None


def _out_of_place(place: Place) -> str:
    template = place[: -len(POD_ANNOTATIONS)]
    if place == (*template, *POD_ANNOTATIONS) and is_called_template(template):
        return (
            f"{dotted(template)} attaches to networks and has no spec.containers, which its controller adds"
        )
    return (
        f"{NETWORKS} at {dotted(place)} is not in a pod template, and reaches pods only if the controller "
        "copies it"
    )


def _search(raw: bytes | msgspec.Raw, place: Place, namespace: str | None, found: Shapes) -> None:
    if not (is_called_template(place) or has_any(raw, WORDS)):
        return
    fields = fields_of(raw)
    if fields:
        kind = text_in(fields, "kind") if "apiVersion" in fields else ""
        if place and kind:
            namespace = text_in(fields_of(fields.get("metadata")), "namespace") or namespace
        if place and kind in ("", "Pod") and has_containers(fields_of(fields.get("spec"))):
            found.templates.append(PodTemplate(place, bytes(raw), namespace))
            return
        found.without_template.extend(filter(None, [pod_without_template(fields, place)]))
        found.pod_settings.extend(filter(None, [pod_settings(fields, place)]))
    for key, value in _children(raw, fields, place):
        _search(value, (*place, key), namespace, found)


def _annotated(raw: bytes | msgspec.Raw, place: Place) -> Iterator[Place]:
    if not has_any(raw, (_NETWORKS,)):
        return
    fields = fields_of(raw)
    if NETWORKS in fields:
        yield place
    for key, value in _children(raw, fields, place):
        yield from _annotated(value, (*place, key))


def _texts(raw: bytes | msgspec.Raw, place: Place) -> Iterator[Place]:
    if not has_any(raw, (_NETWORKS,)):
        return
    if starts_with(raw, b'"'):
        yield place
    for key, value in _children(raw, fields_of(raw), place):
        yield from _texts(value, (*place, key))


def _children(
    raw: bytes | msgspec.Raw, fields: Fields, place: Place
) -> Iterator[tuple[str | int, msgspec.Raw]]:
    if len(place) < MAX_DEPTH:
        yield from ((key, value) for key, value in fields.items() if key not in _SKIPPED)
        yield from enumerate(items_of(raw))
