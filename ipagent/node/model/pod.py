"""Pod: what the node agent reads of a Kubernetes Pod, its addresses by Multus and its annotations. Pure.

Addresses come from `k8s.v1.cni.cncf.io/network-status` (Network Custom Resource Definition De-facto
Standard, section 4.2), so that pods without kernel addresses (DPDK, SR-IOV) are served too.

Multus writes network-status through the pod's subresource `status` when it has made the sandbox, and so does
multus-dynamic-networks-controller when it changes the networks of a running pod
(network-attachment-definition-client, `pkg/utils/net-attach-def.go`, setPodNetworkStatus). So the annotation
counts only if `managedFields`, which the API server keeps, says that its value was written through `status`.
A value that came with the pod, or that somebody with rights to pods alone has written, does not count.
The API server merges the oldest of more than 10 updating managers into one entry, `ancient-changes`, without
their subresource (apimachinery, `pkg/util/managedfields/internal/capmanagers.go`): that entry proves nothing.
pod_informer.py remembers which value was proven in the pod's life, and which was not.

Thread: the informer's reads pods, the main loop's uses them; both only read a Pod once it is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from ipaddress import ip_interface
from typing import Any

from common.contract import (
    CONTAINER_NAME,
    ENV_BACKEND,
    INTERFACES,
    NETWORKS,
    TAKEOVER,
    Backend,
    Mode,
    Takeover,
    parse_list,
)
from ipagent.assign.addresses import Holding, IPAddress, canonical_mac, is_global_unicast

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
MIRROR = "kubernetes.io/config.mirror"
"""Marks the mirror of a static pod (k8s.io/kubernetes, pkg/kubelet/types, ConfigMirrorAnnotationKey)."""
MAX_STATUS = 256 * 1024
"""Characters: the API server takes no more in all annotations of an object together."""
MAX_HOLDINGS = 256
"""Addresses of one pod: more than any ENI carries (docs "Maximum IP addresses per network interface": 50)."""
MAX_NAMES = 64
MAX_TEXT = 253
"""Characters of a name: a DNS subdomain (RFC 1123) has no more."""
_SHOWN = 64
_PROBLEMS = 3
_MAX_MANAGERS = 64
"""Entries of managedFields that are looked at: the API server merges all but 10 that update."""

Object = Mapping[str, Any]


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

    @property
    def attached(self) -> bool:
        """Whether Multus has given it an interface, on which it may hold addresses."""
        return bool(self.holdings) or self.bare or bool(self.problem)

    @property
    def counting(self) -> tuple[Holding, ...]:
        """The holdings on interfaces that count; one without an interface's name counts."""
        named = self.interfaces
        return tuple(each for each in self.holdings if not named or each.interface in ("", *named))


def read_pod(obj: Object, *, verified: bool | None = None) -> Pod:
    """Read a Kubernetes Pod object; what is missing or of a wrong type counts as missing.

    `verified` is whether its network-status counts; None: as managedFields says.
    """
    metadata, spec, status = (_map(obj.get(part)) for part in ("metadata", "spec", "status"))
    annotations = _map(metadata.get("annotations"))
    key = PodKey(*(_text(metadata.get(part)) for part in ("namespace", "name", "uid")))
    alive = status.get("phase") not in ("Succeeded", "Failed")
    leaving = metadata.get("deletionTimestamp") is not None
    networked = spec.get("hostNetwork") is not True
    written = annotations.get(NETWORK_STATUS) if networked else ""
    if not (written_through_status(obj) if verified is None else verified):
        written = ""
    read = _read_status(written or "")
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
        created=_text(metadata.get("creationTimestamp"), _SHOWN),
        default_interfaces=read.default_interfaces,
        bare=read.bare,
        mirror=MIRROR in annotations,
    )


def written_through_status(obj: Object) -> bool:
    """Return whether managedFields says that network-status was written through the subresource `status`."""
    managers = map(_map, _list(_map(obj.get("metadata")).get("managedFields"))[:_MAX_MANAGERS])
    return any(each.get("subresource") == "status" and _owns_network_status(each) for each in managers)


def network_status_text(obj: Object) -> str:
    """Return the annotation's value; empty if there is none."""
    text = _map(_map(obj.get("metadata")).get("annotations")).get(NETWORK_STATUS)
    return text if isinstance(text, str) else ""


def _owns_network_status(manager: Object) -> bool:
    fields = manager.get("fieldsV1")
    for name in ("f:metadata", "f:annotations"):
        fields = _map(fields).get(name)
    return f"f:{NETWORK_STATUS}" in _map(fields)


@dataclass(frozen=True, slots=True)
class _NetworkStatus:
    holdings: tuple[Holding, ...] = ()
    problem: str = ""
    default_interfaces: tuple[str, ...] = ()
    bare: bool = False


def _read_status(text: object) -> _NetworkStatus:
    """Read the annotation's value, as far as it can be read."""
    if not isinstance(text, str) or not text.strip():
        return _NetworkStatus()
    if len(text) > MAX_STATUS:
        return _NetworkStatus(problem=f"{NETWORK_STATUS} has more than {MAX_STATUS} characters")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return _NetworkStatus(problem=f"{NETWORK_STATUS} is not JSON: {_quote(text)}")
    if entries is None:
        return _NetworkStatus()
    if not isinstance(entries, list):
        return _NetworkStatus(problem=f"{NETWORK_STATUS} is not a list: {_quote(text)}")
    return _read_entries(entries)


def _read_entries(entries: list[Any]) -> _NetworkStatus:
    defaults = _default_networks(entries)
    found: dict[Holding, None] = {}
    default_interfaces: dict[str, None] = {}
    problems: list[str] = []
    bare = False
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict) and _of_default_network(entry, defaults):
            default_interfaces[_text(entry.get("interface"), _SHOWN)] = None
            continue
        before = len(found)
        found |= dict.fromkeys(_entry(entry, number, problems))
        bare |= len(found) == before and isinstance(entry, dict) and bool(entry.get("interface"))
        if len(found) > MAX_HOLDINGS or len(problems) > MAX_HOLDINGS:
            break
    if len(found) > MAX_HOLDINGS:
        problems.append(f"more than {MAX_HOLDINGS} addresses")
    interfaces = tuple(name for name in default_interfaces if name)[:MAX_NAMES]
    return _NetworkStatus(tuple(found)[:MAX_HOLDINGS], _summary(problems), interfaces, bare)


def _default_networks(entries: Iterable[object]) -> frozenset[str]:
    """Return the names of the cluster default network.

    One plugin may give several interfaces, of which one has `default: true`: the VPC CNI's `v6if0` (IPv6
    egress) and `mNicIf1` (multi-NIC pods, an address of the VPC CNI's pool) beside `eth0`.
    """
    names = (_text(each.get("name")) for each in map(_map, entries) if each.get("default") is True)
    return frozenset(name for name in names if name)


def _of_default_network(entry: Object, defaults: frozenset[str]) -> bool:
    return entry.get("default") is True or _text(entry.get("name")) in defaults


def _entry(entry: object, number: int, problems: list[str]) -> Iterator[Holding]:
    if not isinstance(entry, dict):
        problems.append(f"entry {number} is not an object: {_quote(entry)}")
        return
    interface = _text(entry.get("interface"), _SHOWN)
    mac = canonical_mac(_text(entry.get("mac"), _SHOWN))
    ips = entry.get("ips")
    if ips is not None and not isinstance(ips, list):
        problems.append(f"entry {number}: ips is not a list: {_quote(ips)}")
    for text in _list(ips):
        address = _address(text)
        if address is None:
            problems.append(f"entry {number}: {_quote(text)} is not an IP address")
        elif is_global_unicast(address):
            yield Holding(interface, mac, address)


def _address(text: object) -> IPAddress | None:
    # An address with a zone (RFC 4007) is bound to one host's link.
    if not isinstance(text, str) or len(text) > _SHOWN or "%" in text:
        return None
    try:
        return ip_interface(text.strip()).ip
    except ValueError:
        return None


def _summary(problems: list[str]) -> str:
    if not problems:
        return ""
    more = len(problems) - _PROBLEMS
    shown = [*problems[:_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
    return f"{NETWORK_STATUS}: {'; '.join(shown)}"


def _takeover(value: object) -> Takeover:
    """Read the annotation; what can't be read allows nothing."""
    return Takeover.ALWAYS if value in (None, Takeover.ALWAYS.value) else Takeover.NEVER


def _names(value: object) -> tuple[str, ...]:
    return parse_list(_text(value, MAX_NAMES * MAX_TEXT))[:MAX_NAMES]


def _agent(spec: Object) -> InjectedAgent:
    containers = map(_map, _list(spec.get("initContainers")))
    ours = next((each for each in containers if each.get("name") == CONTAINER_NAME), None)
    if ours is None:
        return InjectedAgent.NONE
    command = _list(ours.get("command"))
    sidecar = Mode.SIDECAR.value in command or ours.get("restartPolicy") == "Always"
    if _backend(map(_map, _list(ours.get("env")))) == Backend.NODE.value:
        return InjectedAgent.NODE_SIDECAR if sidecar else InjectedAgent.NODE_INIT
    return InjectedAgent.DIRECT_SIDECAR if sidecar else InjectedAgent.DIRECT_INIT


def _backend(env: Iterable[Object]) -> object:
    """Find the backend; the last of two variables with one name counts, as in the container."""
    values = [each.get("value") for each in env if each.get("name") == ENV_BACKEND]
    return values[-1] if values else Backend.DIRECT.value


def _map(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object, limit: int = MAX_TEXT) -> str:
    """Take a text that is to be one line: names, not what is parsed."""
    return value[:limit] if isinstance(value, str) and value[:limit].isprintable() else ""


def _quote(value: object) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return repr(text[:_SHOWN])
