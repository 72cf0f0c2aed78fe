"""Find workloads in manifests: where in a document pods and pod templates are, and whose they are.

A manifest may have any shape; only what names a workload is required. The pod itself is decoded only if it
attaches to a network: the webhook is called only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from common.pod_keys import CREDENTIALS, INJECTION, MODE
from webhook.core.meshes import MESH_KEYS
from webhook.manifests.pod_templates import (
    Shapes,
    find_networks_annotations,
    find_shapes,
    may_have_templates,
    may_make_pods,
    not_understood,
)
from webhook.manifests.raw_json import Place, follow, has_any, starts_with

MAX_LISTS = 8
"""How deep lists may stand in lists."""

_SPEC_TEMPLATE = ("spec", "template")
_PLACES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _SPEC_TEMPLATE,
    ("apps", "Deployment"): _SPEC_TEMPLATE,
    ("apps", "StatefulSet"): _SPEC_TEMPLATE,
    ("apps", "DaemonSet"): _SPEC_TEMPLATE,
    ("apps", "ReplicaSet"): _SPEC_TEMPLATE,
    ("batch", "Job"): _SPEC_TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_SPEC_TEMPLATE),
}
"""API group and kind -> where the pod is."""

T = TypeVar("T")


class ManifestError(Exception):
    """Document number `document` (from 0) can't be taken for what it says it is; the text says why."""

    def __init__(self, document: int, problem: str) -> None:
        super().__init__(problem)
        self.document = document


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, or what makes pods. `namespace` is None where the manifest names none; `name` may be a prefix.

    `pod` is the JSON of the pod (template), None where there is none; `place` says where it is in document
    number `document` (from 0), `path` where it is in `object`, the JSON of the object, and `templates` where
    all pods in that are. `found_by_shape`: the kind did not tell the path.
    """

    document: int
    place: Place
    kind: str
    namespace: str | None
    name: str
    pod: bytes | None
    object: bytes = b"{}"
    path: Place = ()
    templates: tuple[Place, ...] = ()
    api_group: str = ""
    found_by_shape: bool = False

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod itself, rather than something that makes pods."""
        return self.kind == "Pod" and not self.found_by_shape


@dataclass(frozen=True, slots=True)
class SkippedObject:
    """An object that makes pods in a way that is not understood; `reason` says in which."""

    document: int
    kind: str
    namespace: str | None
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifests:
    """What documents hold: workloads in order, the labels of our contract by namespace, the rest.

    `mesh_keys` are labels and annotations of service meshes by namespace.
    """

    workloads: tuple[Workload, ...]
    namespaces: Mapping[str, Mapping[str, str]]
    skipped: tuple[SkippedObject, ...] = ()
    mesh_keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_manifests(documents: Iterable[bytes]) -> Manifests:
    """Find workloads and namespaces in JSON documents. Raises ManifestError."""
    workloads: list[Workload] = []
    namespaces: dict[str, dict[str, str]] = {}
    skipped: list[SkippedObject] = []
    mesh_keys: dict[str, dict[str, str]] = {}
    for number, document in enumerate(documents):
        try:
            reader = _Reader(number, workloads, namespaces, skipped, mesh_keys)
            reader.read(document, (), _Type())
        except _Unreadable as error:
            raise ManifestError(number, str(error)) from None
    return Manifests(tuple(workloads), namespaces, tuple(skipped), mesh_keys)


class _Unreadable(Exception):
    pass


class _Type(msgspec.Struct, frozen=True):
    apiVersion: Any = None  # noqa: N815 - the API's name
    kind: Any = None


class _Name(msgspec.Struct, frozen=True):
    name: Any = None
    generateName: Any = None  # noqa: N815 - the API's name
    namespace: Any = None


class _Labels(msgspec.Struct, frozen=True):
    labels: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class _Named(msgspec.Struct, frozen=True):
    metadata: _Name | None = None


class _Labelled(msgspec.Struct, frozen=True):
    metadata: _Labels | None = None


class _List(msgspec.Struct, frozen=True):
    items: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class _Reader:
    document: int
    workloads: list[Workload]
    namespaces: dict[str, dict[str, str]]
    skipped: list[SkippedObject]
    mesh_keys: dict[str, dict[str, str]]

    def read(self, raw: bytes, place: Place, implied: _Type) -> None:
        if not starts_with(raw, b"{"):
            self._no_object(raw)
            return
        found = _decode(raw, _Type)
        kind = _text(found.kind) or _text(implied.kind)
        api_version = _text(found.apiVersion) or _text(implied.apiVersion)
        group = api_version.rpartition("/")[0]
        if (group, kind) in _PLACES:
            self._workload(raw, place, group, kind)
        elif (group, kind) == ("", "Namespace"):
            self._namespace(raw)
        elif kind.endswith("List") and starts_with(items := _decode(raw, _List).items, b"["):
            # The items of a typed list, as in a PodList, do not say what they are.
            self._list(items, place, _Type(api_version, kind.removesuffix("List")))
        elif may_have_templates(group, kind):
            missing = [key for key, text in (("apiVersion", api_version), ("kind", kind)) if not text]
            if missing:
                self._unnamed(raw, kind, missing)
            else:
                self._object(raw, place, group, kind)

    def _list(self, items: bytes, place: Place, implied: _Type) -> None:
        if len(place) >= 2 * MAX_LISTS:
            raise _Unreadable(f"lists in lists, more than {MAX_LISTS} deep")
        for index, item in enumerate(_decode(items, list[msgspec.Raw])):
            self.read(item, (*place, "items", index), implied)

    def _namespace(self, raw: bytes) -> None:
        metadata = _decode(raw, _Labelled).metadata or _Labels()
        labels, name = metadata.labels or {}, _text(_name(raw).name)
        self.mesh_keys[name] = {
            key: _text(value)
            for key, value in {**(metadata.annotations or {}), **labels}.items()
            if key in MESH_KEYS
        }
        self.namespaces[name] = {
            key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for key, value in labels.items()
            if key in (INJECTION, MODE, CREDENTIALS)
        }

    def _workload(self, raw: bytes, place: Place, group: str, kind: str) -> None:
        path = _PLACES[group, kind]
        namespace, name = _identity(raw)
        self.workloads.append(
            Workload(
                document=self.document,
                place=(*place, *path),
                kind=kind,
                namespace=namespace,
                name=name,
                pod=_object_at(raw, path),
                object=raw,
                path=path,
                templates=(path,),
            )
        )

    def _no_object(self, raw: bytes) -> None:
        """Mention a list of objects, as `jq .items` makes them of a List."""
        if starts_with(raw, b"[") and has_any(raw, (b'"containers"',)):
            reason = "kubectl reads no list: put it under `items` of an object of kind List"
            self.skipped.append(SkippedObject(self.document, "list", None, "", reason))

    def _unnamed(self, raw: bytes, kind: str, missing: list[str]) -> None:
        """Mention an object that would be a workload if it said what it is."""
        shapes, annotated = _shapes(raw)
        if shapes.templates or shapes.without_template or annotated:
            reason = f"it has no {' and no '.join(missing)}, without which it is not a manifest"
            namespace, name = _identity(raw)
            self.skipped.append(SkippedObject(self.document, kind or "object", namespace, name, reason))

    def _object(self, raw: bytes, place: Place, group: str, kind: str) -> None:
        """Read an object whose kind does not tell where its pods are."""
        shapes, annotated = _shapes(raw)
        reason = not_understood(raw, shapes, annotated, makes_pods=may_make_pods(group))
        if not shapes.templates and reason is None:
            return
        namespace, name = _identity(raw)
        templates = tuple(template.place for template in shapes.templates)
        self.workloads.extend(
            Workload(
                document=self.document,
                place=(*place, *template.place),
                kind=kind,
                namespace=template.namespace or namespace,
                name=name,
                pod=template.pod,
                object=raw,
                path=template.place,
                templates=templates,
                api_group=group,
                found_by_shape=True,
            )
            for template in shapes.templates
        )
        if reason is not None:
            self.skipped.append(SkippedObject(self.document, kind, namespace, name, reason))


def _shapes(raw: bytes) -> tuple[Shapes, list[Place]]:
    try:
        shapes = find_shapes(raw)
        return shapes, [] if shapes.templates else find_networks_annotations(raw)
    except RecursionError:
        raise _Unreadable("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise _Unreadable(str(error)) from None


def _object_at(raw: bytes, path: tuple[str, ...]) -> bytes | None:
    """Return the object at a place; None where it is missing or something else."""
    found = follow(raw, path)
    return found if found is not None and starts_with(found, b"{") else None


def _identity(raw: bytes) -> tuple[str | None, str]:
    """Return namespace and name, or the prefix of the name."""
    name = _name(raw)
    return _text(name.namespace) or None, _text(name.name) or _text(name.generateName)


def _name(raw: bytes) -> _Name:
    return _decode(raw, _Named).metadata or _Name()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _decode(raw: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except RecursionError:
        raise _Unreadable("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise _Unreadable(str(error)) from None
