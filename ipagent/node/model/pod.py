"""What the node agent reads of a pod: its addresses by Multus, and what its annotations ask for.

Addresses come from `k8s.v1.cni.cncf.io/network-status` (Network Custom Resource Definition De-facto
Standard, section 4.2), so that pods without kernel addresses (DPDK, SR-IOV) are served too.

Multus writes network-status through the pod's subresource `status` when it has made the sandbox
(network-attachment-definition-client, `pkg/utils/net-attach-def.go`, setPodNetworkStatus). A copy that came
with a pod template says nothing about this pod; `managedFields` tells the two apart until the sandbox
exists.
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
from ipagent.assign.selection import Holding, IPAddress, canonical_mac, is_global_unicast

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
MAX_STATUS = 256 * 1024
"""Characters: the API server takes no more in all annotations of an object together."""
MAX_HOLDINGS = 256
"""Addresses of one pod: more than any ENI carries (docs "Maximum IP addresses per network interface": 50)."""
MAX_NAMES = 64
MAX_TEXT = 253
"""Characters of a name: a DNS subdomain (RFC 1123) has no more."""
_SHOWN = 64
_PROBLEMS = 3

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
    """A pod as the API server has it.

    `alive`: it may hold addresses; a pod that is being deleted (`leaving`) is alive until it is gone.
    `holdings` are all of network-status but the default interface's, `interfaces` those that count by
    annotation (empty: all). `waiting`: it has Multus networks, and network-status is yet to come. `problem`
    tells what of network-status can't be read; `holdings` are the rest. `created` is the API server's time
    (RFC 3339, UTC, in seconds: it sorts as text).
    """

    key: PodKey
    alive: bool
    leaving: bool = False
    holdings: tuple[Holding, ...] = ()
    waiting: bool = False
    problem: str = ""
    takeover: Takeover = Takeover.ALWAYS
    interfaces: tuple[str, ...] = ()
    agent: InjectedAgent = InjectedAgent.NONE
    created: str = ""

    @property
    def counting(self) -> tuple[Holding, ...]:
        """The holdings on interfaces that count; one without an interface's name counts."""
        named = self.interfaces
        return tuple(each for each in self.holdings if not named or each.interface in ("", *named))


def read_pod(obj: Object) -> Pod:
    """Read a Kubernetes Pod object; what is missing or of a wrong type counts as missing."""
    metadata, spec, status = (_map(obj.get(part)) for part in ("metadata", "spec", "status"))
    annotations = _map(metadata.get("annotations"))
    key = PodKey(*(_text(metadata.get(part)) for part in ("namespace", "name", "uid")))
    alive = status.get("phase") not in ("Succeeded", "Failed")
    leaving = metadata.get("deletionTimestamp") is not None
    networked = spec.get("hostNetwork") is not True
    written = annotations.get(NETWORK_STATUS) if networked else ""
    if not _has_sandbox(status) and _came_with_the_pod(metadata):
        written = ""
    holdings, problem = _read_status(written or "")
    asks = networked and bool(annotations.get(NETWORKS))
    return Pod(
        key,
        alive,
        leaving,
        holdings,
        waiting=asks and alive and not leaving and not written,
        problem=problem,
        takeover=_takeover(annotations.get(TAKEOVER)),
        interfaces=_names(annotations.get(INTERFACES)),
        agent=_agent(spec),
        created=_text(metadata.get("creationTimestamp"), _SHOWN),
    )


def _has_sandbox(status: Object) -> bool:
    """Whether the kubelet has said that the pod's network is there."""
    return bool(status.get("podIP"))


def _came_with_the_pod(metadata: Object) -> bool:
    """Whether network-status was written as part of the pod, by whoever made it."""
    managers = [_map(each) for each in _list(metadata.get("managedFields"))]
    owners = [each for each in managers if _owns_status(each)]
    return bool(owners) and all(each.get("subresource") != "status" for each in owners)


def _owns_status(manager: Object) -> bool:
    fields = manager.get("fieldsV1")
    for name in ("f:metadata", "f:annotations"):
        fields = _map(fields).get(name)
    return f"f:{NETWORK_STATUS}" in _map(fields)


def _read_status(text: object) -> tuple[tuple[Holding, ...], str]:
    """Read the holdings and what of the text can't be read."""
    if not isinstance(text, str) or not text.strip():
        return (), ""
    if len(text) > MAX_STATUS:
        return (), f"{NETWORK_STATUS} has more than {MAX_STATUS} characters"
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return (), f"{NETWORK_STATUS} is not JSON: {_quote(text)}"
    if entries is None:
        return (), ""
    if not isinstance(entries, list):
        return (), f"{NETWORK_STATUS} is not a list: {_quote(text)}"
    found: dict[Holding, None] = {}
    problems: list[str] = []
    for number, entry in enumerate(entries, 1):
        found |= dict.fromkeys(_entry(entry, number, problems))
        if len(found) > MAX_HOLDINGS or len(problems) > MAX_HOLDINGS:
            break
    if len(found) > MAX_HOLDINGS:
        problems.append(f"more than {MAX_HOLDINGS} addresses")
    return tuple(found)[:MAX_HOLDINGS], _summary(problems)


def _entry(entry: object, number: int, problems: list[str]) -> Iterator[Holding]:
    if not isinstance(entry, dict):
        problems.append(f"entry {number} is no object: {_quote(entry)}")
        return
    if entry.get("default") is True:
        return
    interface = _text(entry.get("interface"), _SHOWN)
    mac = canonical_mac(_text(entry.get("mac"), _SHOWN))
    ips = entry.get("ips")
    if ips is not None and not isinstance(ips, list):
        problems.append(f"entry {number}: ips is no list: {_quote(ips)}")
    for text in _list(ips):
        address = _address(text)
        if address is None:
            problems.append(f"entry {number}: {_quote(text)} is no IP address")
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
