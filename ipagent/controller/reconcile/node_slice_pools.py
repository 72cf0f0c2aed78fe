"""Slices of networks whose prefixes whereabouts hands out: each node's slice, and the NodeSlicePools.

A prefix of such a network is `Lent`, and is never unassigned: what whereabouts' pods have of it nobody
reports. It goes with its ENI.
"""

from __future__ import annotations

from collections.abc import Iterable

from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.node_slice_pools import SlicePool, slice_of, usable
from ipagent.controller.model.prefixes import Family, Ipam, PrefixState, PrefixStatus, family
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.prefix_pool import PrefixPool

NO_SLICES = "the controller does not write NodeSlicePools: set controller.whereabouts.namespace"


def treat_lent_as_active(found: PrefixPool, recorded: Iterable[PrefixStatus]) -> None:
    """Count what is lent as active while it is decided about a network of whereabouts.

    What is recorded as active was host-local's until the network was changed. It drains: its pods live on.
    """
    if found.spec.ipam is Ipam.WHEREABOUTS:
        hosted = {each.prefix for each in recorded if each.state is PrefixState.ACTIVE}
        found.states |= dict.fromkeys(hosted & found.states.keys(), PrefixState.DRAINING)
        lent = [each for each, state in found.states.items() if state is PrefixState.LENT]
        found.states |= dict.fromkeys(lent, PrefixState.ACTIVE)


def lend_active(found: PrefixPool, asking: str) -> str:
    """Lend what is active; returns the node's slice, empty as long as it has none."""
    before = found.attachment.status.slice
    if found.spec.ipam is not Ipam.WHEREABOUTS:
        return before
    active = [each for wanted in Family for each in found.blocks(wanted, PrefixState.ACTIVE)]
    found.states |= dict.fromkeys(active, PrefixState.LENT)
    # Neighbours may come still.
    return before if asking and not before else slice_of(before, _of_one_family(active))


def _of_one_family(prefixes: list[str]) -> list[str]:
    return [each for each in prefixes if family(each) is family(prefixes[0])]


def free_in_slice(found: PrefixPool, slice_: str) -> int | None:
    """Return how many IPv4 addresses of a slice pods can still have, as the node agent reports them."""
    if not slice_ or ":" in slice_:
        return None
    usage = found.attachment.usage
    return usable(slice_, () if usage is None else usage.addresses | usage.others)


def slice_condition(found: PrefixPool, slice_: str) -> Condition:
    """Return whether whereabouts has the node's slice."""
    report = found.draft.state.slices.get(found.network.name)
    if report is not None and report.problem:
        return no("SliceRefused", report.problem)
    if report is None or report.slices.get(found.attachment.node) != slice_:
        return unknown("WritingSlice", f"{slice_} is being written into NodeSlicePool {found.network.name}")
    return yes("Sliced", f"whereabouts hands out {slice_}")


def pools_of(state: State) -> dict[str, SlicePool]:
    """Return the pools of the networks of whereabouts, by what NodeAttachments record."""
    found = {}
    for name, network in state.networks.items():
        if network.prefixes is None or network.prefixes.ipam is not Ipam.WHEREABOUTS:
            continue
        sliced = [each for each in state.attachments.values() if each.network == name and each.status.slice]
        ipv6 = network.prefixes.ipv4 == 0
        ranges = sorted({cidr for each in sliced for cidr in each.status.cidrs if (":" in cidr) is ipv6})
        slices = {each.node: each.status.slice for each in sorted(sliced, key=lambda each: each.node)}
        found[name] = SlicePool(name, network.uid, ranges[0] if ranges else "", slices)
    return found
