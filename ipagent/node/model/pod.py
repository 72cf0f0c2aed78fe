"""Pod: what the node agent reads of a Kubernetes Pod: phase, addresses by Multus, annotations. Pure.

Thread: the informer's reads pods, the main loop's uses them; both only read a Pod once it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto

from common.agent_container import CONTAINER_NAME
from common.agent_settings import ENV_BACKEND, Backend, Mode, Takeover, parse_list
from common.object_fields import MAX_NAME, Object, as_list, as_map, as_text
from common.pod_keys import EIP, EIP_CONDITION, INTERFACES, NETWORKS, TAKEOVER
from common.shorten import SHOWN
from ipagent.assign.addresses import Holding, IPAddress
from ipagent.network_status_origin import NETWORK_STATUS, written_through_status
from ipagent.node.model.condition import PodCondition, read_condition
from ipagent.node.model.network_status import MAX_NAMES, read_status
from ipagent.node.model.requested_units import requested_units

SANDBOX_CONDITION = "PodReadyToStartContainers"
"""k8s.io/api, core/v1, PodReadyToStartContainers."""
MIRROR = "kubernetes.io/config.mirror"
"""Marks the mirror of a static pod (k8s.io/kubernetes, pkg/kubelet/types, ConfigMirrorAnnotationKey)."""


@dataclass(frozen=True, slots=True, order=True)
class PodKey:
    """One life of a pod: a new pod of the same name has another uid."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class InjectedAgent(StrEnum):
    """Which of our agents the webhook has put into the pod: its backend and mode."""

    NONE = auto()
    DIRECT_INIT = auto()
    DIRECT_SIDECAR = auto()
    NODE_INIT = auto()
    NODE_SIDECAR = auto()


@dataclass(frozen=True, slots=True)
class ElasticIps:
    """Whether the Elastic IPs that a pod claims are associated; `text` is the message of the condition."""

    associated: bool
    text: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API server has it."""

    key: PodKey
    alive: bool
    """It may hold addresses."""
    leaving: bool = False
    """It is being deleted; it is alive until it is gone."""
    holdings: tuple[Holding, ...] = ()
    """Those of network-status, save the cluster default network's."""
    waiting: bool = False
    """It has Multus networks, and network-status is yet to come."""
    problem: str = ""
    """What of network-status can't be read; `holdings` are the rest."""
    takeover: Takeover = Takeover.ALWAYS
    interfaces: tuple[str, ...] = ()
    """The interfaces that count by annotation; empty: all."""
    agent: InjectedAgent = InjectedAgent.NONE
    created: str = ""
    """The API server's time (RFC 3339, UTC, in seconds: it sorts as text)."""
    default_interfaces: tuple[str, ...] = ()
    """Interfaces of the cluster default network by network-status: the cluster's own CNI manages them."""
    bare: bool = False
    """Multus has given it an interface without addresses."""
    mirror: bool = False
    """It is the mirror of a static pod, whose containers outlive this object."""
    condition: PodCondition | None = field(default=None, compare=False)
    """The condition of ours that it shows. Nothing else follows from it."""
    elastic_ips: ElasticIps | None = None
    """What has become of the Elastic IPs that it claims; None if it claims none."""
    remade: bool = False
    """Its sandbox is made anew, as after the node's reboot: its network-status is that of the former one."""
    units: tuple[tuple[str, int], ...] = ()
    """Networks whose resource it requests, and how many units of each."""
    former: frozenset[IPAddress] | None = None
    """While its sandbox is made anew: what it has had since before; None as long as that is not known."""

    @property
    def without_eips(self) -> str:
        """Why Elastic IPs that the pod claims are missing; empty: none is."""
        claimed = self.elastic_ips
        return claimed.text if claimed is not None and not claimed.associated else ""

    @property
    def attached(self) -> bool:
        """Whether Multus has given it an interface, on which it may hold addresses."""
        return bool(self.holdings) or self.bare or bool(self.problem)

    @property
    def counting(self) -> tuple[Holding, ...]:
        """The holdings on interfaces that count; one without an interface's name counts."""
        named = self.interfaces
        return tuple(each for each in self.holdings if not named or each.interface in ("", *named))

    def after(self, before: Pod | None) -> Pod:
        """Return it with what it has from its former sandbox; `before` is how it was seen last."""
        if not self.remade:
            return self
        had = frozenset(each.address for each in (before or self).holdings)
        if before is not None and before.former is not None:
            had &= before.former
        return replace(self, former=had)


def read_pod(obj: Object, *, verified: bool | None = None) -> Pod:
    """Read a Kubernetes Pod object; what is missing or of a wrong type counts as missing.

    `verified` is whether its network-status counts; None: as managedFields says.
    """
    metadata, spec, status = (as_map(obj.get(part)) for part in ("metadata", "spec", "status"))
    annotations = as_map(metadata.get("annotations"))
    key = PodKey(*(as_text(metadata.get(part)) for part in ("namespace", "name", "uid")))
    alive = status.get("phase") not in ("Succeeded", "Failed")
    leaving = metadata.get("deletionTimestamp") is not None
    networked = spec.get("hostNetwork") is not True
    written = annotations.get(NETWORK_STATUS) if networked else ""
    if not (written_through_status(obj) if verified is None else verified):
        written = ""
    read = read_status(written or "")
    asks = networked and bool(annotations.get(NETWORKS))
    return Pod(
        key,
        alive,
        leaving,
        read.holdings,
        waiting=asks and alive and not written,
        problem=read.problem,
        takeover=_takeover(annotations.get(TAKEOVER)),
        interfaces=_names(annotations.get(INTERFACES)),
        agent=_agent(spec),
        created=as_text(metadata.get("creationTimestamp"), SHOWN),
        default_interfaces=read.default_interfaces,
        bare=read.bare,
        mirror=MIRROR in annotations,
        condition=read_condition(status),
        elastic_ips=_elastic_ips(status) if EIP in annotations else None,
        remade=bool(read.holdings) and _is_remade(status),
        units=requested_units(spec),
    )


def _is_remade(status: Object) -> bool:
    """Return whether the kubelet makes the sandbox of a pod again that has run before.

    The condition is true once there is a sandbox with its networks (Kubernetes: Pod Lifecycle, "Pod network
    readiness"), and the network-status of a pod that is new is that of its first sandbox.
    """
    ready = read_condition(status, SANDBOX_CONDITION)
    if ready is None or ready.status != "False":
        return False
    statuses = (*as_list(status.get("initContainerStatuses")), *as_list(status.get("containerStatuses")))
    return any(map(_has_run, map(as_map, statuses)))


def _has_run(container: Object) -> bool:
    ended = as_map(container.get("state")).get("terminated") or as_map(container.get("lastState"))
    return bool(ended or container.get("restartCount"))


def _elastic_ips(status: Object) -> ElasticIps:
    found = read_condition(status, EIP_CONDITION)
    if found is None:
        return ElasticIps(False, "the controller has not handled the pod yet: is controller.eips set?")
    return ElasticIps(
        found.status == "True", found.message or found.reason or "the controller does not say why"
    )


def _takeover(value: object) -> Takeover:
    """Read the annotation; what can't be read allows nothing."""
    return Takeover.ALWAYS if value in (None, Takeover.ALWAYS.value) else Takeover.NEVER


def _names(value: object) -> tuple[str, ...]:
    return parse_list(as_text(value, MAX_NAMES * MAX_NAME))[:MAX_NAMES]


def _agent(spec: Object) -> InjectedAgent:
    containers = map(as_map, as_list(spec.get("initContainers")))
    ours = next((each for each in containers if each.get("name") == CONTAINER_NAME), None)
    if ours is None:
        return InjectedAgent.NONE
    command = as_list(ours.get("command"))
    sidecar = Mode.SIDECAR.value in command or ours.get("restartPolicy") == "Always"
    if _backend(map(as_map, as_list(ours.get("env")))) == Backend.NODE.value:
        return InjectedAgent.NODE_SIDECAR if sidecar else InjectedAgent.NODE_INIT
    return InjectedAgent.DIRECT_SIDECAR if sidecar else InjectedAgent.DIRECT_INIT


def _backend(env: Iterable[Object]) -> object:
    """Find the backend; the last of two variables with one name counts, as in the container."""
    values = [each.get("value") for each in env if each.get("name") == ENV_BACKEND]
    return values[-1] if values else Backend.DIRECT.value
