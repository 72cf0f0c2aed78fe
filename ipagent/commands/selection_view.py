"""Every address that the pod holds: whether it counts, or why it does not.

`addresses.select` gives what counts; this explains the rest, so the two can't disagree about what counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.contract import INTERFACES
from ipagent.assign.selection import (
    PRIMARY_INTERFACE,
    SCOPE_GLOBAL,
    VPC_CNI_NEXT_HOPS,
    Holding,
    IPAddress,
    IPNetwork,
    Link,
    LinkAddress,
    Selection,
    Snapshot,
    UndecidedDefaultError,
    select,
    sort_key,
)

_SCOPES = {200: "site", 253: "link", 254: "host", 255: "nowhere"}
"""rt_scope_t of linux/rtnetlink.h, beside the universe."""


@dataclass(frozen=True)
class Held:
    """An address on an interface; `why` it does not count, empty if it does.

    `tentative`: duplicate address detection goes on, and the agent waits for it.
    """

    holding: Holding
    why: str = ""
    tentative: bool = False

    @property
    def counts(self) -> bool:
        """Whether the agent assigns it."""
        return not self.why


@dataclass(frozen=True)
class Inventory:
    """What the pod holds. `undecided`: nothing tells which interface is the default one, so none counts."""

    held: tuple[Held, ...]
    selection: Selection
    undecided: bool = False


def inventory(snapshot: Snapshot, named: Sequence[str], allowed: Sequence[IPNetwork]) -> Inventory:
    """List the pod's addresses, those of the loopback network apart; arguments as in `addresses.select`."""
    try:
        pod = _Pod(snapshot, tuple(named), select(snapshot, named, allowed))
    except UndecidedDefaultError:
        pod = _Pod(snapshot, tuple(named), Selection(), undecided=True)
    links = {link.index: link for link in snapshot.links}
    entries = [
        entry for entry in snapshot.addresses if entry.index in links and not entry.address.is_loopback
    ]
    entries.sort(key=lambda entry: (entry.index, sort_key(entry.address)))
    held = [_held(entry, links[entry.index], pod) for entry in entries]
    return Inventory(tuple(dict.fromkeys(held)), pod.selection, pod.undecided)


@dataclass(frozen=True)
class _Pod:
    snapshot: Snapshot
    named: tuple[str, ...]
    selection: Selection
    undecided: bool = False


def _held(entry: LinkAddress, link: Link, pod: _Pod) -> Held:
    holding = Holding(link.name, link.mac, entry.address)
    if holding in pod.selection.holdings:
        return Held(holding, tentative=holding in pod.selection.tentative)
    refused = next((refusal.reason for refusal in pod.selection.refused if refusal.holding == holding), "")
    return Held(holding, refused or _why_not_the_address(entry, link) or _why_not_the_interface(link, pod))


def _why_not_the_address(entry: LinkAddress, link: Link) -> str:
    address: IPAddress = entry.address
    if link.loopback:
        return f"{link.name} is the loopback interface"
    if address.is_link_local:
        return "link-local: it ends at the interface"
    if address.is_multicast or address.is_unspecified:
        return "multicast" if address.is_multicast else "unspecified"
    if entry.scope != SCOPE_GLOBAL:
        return f"its scope is {_SCOPES.get(entry.scope, str(entry.scope))}, not global"
    return ""


def _why_not_the_interface(link: Link, pod: _Pod) -> str:
    if pod.undecided:
        return (
            "nothing tells which interface is the default one: name those of Multus in the annotation "
            f"{INTERFACES}"
        )
    if pod.named:
        return f"{link.name} is not among the interfaces that count ({', '.join(pod.named)})"
    return f"{link.name} is the pod's default interface: {_why_default(link, pod.snapshot)}"


def _why_default(link: Link, snapshot: Snapshot) -> str:
    if link.name == PRIMARY_INTERFACE:
        return f"it is named {PRIMARY_INTERFACE}"
    hops = [route.destination.network_address for route in snapshot.routes if route.index == link.index]
    for network in VPC_CNI_NEXT_HOPS:
        if network.network_address in hops:
            return f"it has the VPC CNI's next hop {network.network_address}"
    return "it is the oldest, and has the only default route"
