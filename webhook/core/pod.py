"""The part of a pod that a decision reads. Everything else is skipped by the decoder and never rewritten.

The field names are those of the Kubernetes API (core/v1), so that msgspec decodes without a mapping.
Lists and objects may be absent or null, which both mean empty.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

Quantities = dict[str, str | int | float]

Item = TypeVar("Item")
Items = Annotated[list[Item], msgspec.Meta(max_length=10_000)]
"""A list of bounded length: a review may hold millions of empty objects."""


class ResourceRequirements(msgspec.Struct, frozen=True, gc=False):
    """Requests and limits by resource name, as written."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class EnvVar(msgspec.Struct, frozen=True, gc=False):
    """An environment variable; only its name is read."""

    name: str = ""


class Container(msgspec.Struct, frozen=True, gc=False):
    """An app container."""

    name: str = ""
    command: Items[str] | None = None
    resources: ResourceRequirements | None = None


class InitContainer(Container, frozen=True, gc=False):
    """An init container, or a native sidecar where `restartPolicy` is `Always`."""

    env: Items[EnvVar] | None = None
    restartPolicy: str | None = None  # noqa: N815 - the API's name


class EmptyDir(msgspec.Struct, frozen=True, gc=False):
    """An emptyDir; none of its fields is read."""


class TokenProjection(msgspec.Struct, frozen=True, gc=False):
    """A ServiceAccount token, projected into a file."""

    audience: str | None = None
    path: str | None = None


class Projection(msgspec.Struct, frozen=True, gc=False):
    """One source of a projected volume; only tokens are read."""

    serviceAccountToken: TokenProjection | None = None  # noqa: N815 - the API's name


class Projected(msgspec.Struct, frozen=True, gc=False):
    """A projected volume."""

    sources: Items[Projection] | None = None


class Volume(msgspec.Struct, frozen=True, gc=False):
    """A volume. Of its source only the fields that the agent's own volumes have are read."""

    name: str = ""
    emptyDir: EmptyDir | None = None  # noqa: N815 - the API's name
    projected: Projected | None = None


class LocalObjectReference(msgspec.Struct, frozen=True, gc=False):
    """A reference by name."""

    name: str = ""


class OperatingSystem(msgspec.Struct, frozen=True, gc=False):
    """`spec.os`."""

    name: str = ""


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """Name, labels and annotations; name and namespace may be empty at admission (generateName)."""

    name: str | None = None
    generateName: str | None = None  # noqa: N815 - the API's name
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class PodSpec(msgspec.Struct, frozen=True, gc=False):
    """The parts of a pod's spec that decide whether and how it is injected."""

    containers: Items[Container] | None = None
    initContainers: Items[InitContainer] | None = None  # noqa: N815 - the API's name
    volumes: Items[Volume] | None = None
    imagePullSecrets: Items[LocalObjectReference] | None = None  # noqa: N815 - the API's name
    automountServiceAccountToken: bool | None = None  # noqa: N815 - the API's name
    restartPolicy: str | None = None  # noqa: N815 - the API's name
    hostNetwork: bool | None = None  # noqa: N815 - the API's name
    nodeSelector: dict[str, str] | None = None  # noqa: N815 - the API's name
    schedulerName: str | None = None  # noqa: N815 - the API's name
    os: OperatingSystem | None = None
    resources: ResourceRequirements | None = None


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A pod as the decision sees it."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, empty where there are none."""
        return self.metadata.labels or {}

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations, empty where there are none."""
        return self.metadata.annotations or {}

    @property
    def containers(self) -> list[Container]:
        """Its app containers."""
        return self.spec.containers or []

    @property
    def init_containers(self) -> list[InitContainer]:
        """Its init containers and native sidecars, in order."""
        return self.spec.initContainers or []
