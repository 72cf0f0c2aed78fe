"""When a prefix or a single address is released.

Three steps, which the NodeAttachment records. `Draining`: the node hands out no address of it any more.
`Leaving`: the node has reported for long enough that it does not, and that no pod has one. Then it is
unassigned. Only a draining one can become active again.
"""

from __future__ import annotations

from ipagent.controller.model.actions import UnassignPrefix
from ipagent.controller.model.prefixes import IPV4_SIZE, Family, PrefixState, is_single, size
from ipagent.controller.reconcile.prefix_growth import LOW_WATER
from ipagent.controller.reconcile.prefix_pool import PrefixPool
from ipagent.controller.reconcile.prefix_records import held

SPARE = 16
"""Free addresses that must be left beside what is given back."""
ROOM = 4
"""Free addresses that must be left beside a single one that makes room for a prefix."""
EMPTY_SECONDS = 600.0
DRAINED_SECONDS = 300.0
"""A pod whose sandbox was begun with the former configuration has its address by then: the kubelet gives
RunPodSandbox twice its runtimeRequestTimeout of two minutes."""


def shrink(found: PrefixPool) -> None:
    """Drain what has been empty for long, and all of what the network does not have any more."""
    for wanted in Family:
        if found.least(wanted):
            idle = _idle(found, wanted)
            _drain_singles(found, wanted, [each for each in idle if is_single(each)])
            _drain_block(found, wanted, [each for each in idle if not is_single(each)])
        else:
            found.states |= dict.fromkeys(found.of(wanted, PrefixState.ACTIVE), PrefixState.DRAINING)
    mark_leaving(found)


def mark_leaving(found: PrefixPool) -> None:
    """Let go what drains, once nobody has an address of it."""
    for wanted in Family:
        for prefix in found.of(wanted, PrefixState.DRAINING):
            _mark_leaving(found, prefix)


def _idle(found: PrefixPool, wanted: Family) -> list[str]:
    """Return the active ones that have been empty for long, where there are more than there must be."""
    now, active = found.draft.now, found.of(wanted, PrefixState.ACTIVE)
    since = {p: at for p in active if (at := found.empty_since(p, offered=True)) is not None}
    if len(active) <= found.least(wanted):
        return []
    for at in since.values():
        if now - at < EMPTY_SECONDS:
            found.draft.decide_by(at + EMPTY_SECONDS)
    return [p for p, at in since.items() if now - at >= EMPTY_SECONDS]


def _drain_block(found: PrefixPool, wanted: Family, idle: list[str]) -> None:
    blocks = found.blocks(wanted, PrefixState.ACTIVE)
    spare = wanted is Family.IPV6 or found.free(wanted) - IPV4_SIZE >= SPARE
    if len(blocks) > found.least(wanted) and spare and idle:
        found.states[idle[-1]] = PrefixState.DRAINING


def _drain_singles(found: PrefixPool, wanted: Family, idle: list[str]) -> None:
    """Drain single addresses: all that are not needed once prefixes replace them, else beside a reserve."""
    replaced = len(found.blocks(wanted, PrefixState.ACTIVE)) >= found.least(wanted)
    left = LOW_WATER + 1 if replaced and not found.single_only(wanted) else SPARE
    free = found.free(wanted)
    going = found.singles(wanted, PrefixState.DRAINING, PrefixState.LEAVING)
    if found.slots(wanted) == 0 and not (replaced or found.single_only(wanted) or going):
        # One makes room for a prefix on an ENI that has only single addresses.
        idle, left = idle[-1:], ROOM
    for each in reversed(idle):
        if free - size(each) >= left:
            found.states[each] = PrefixState.DRAINING
            free -= size(each)


def _mark_leaving(found: PrefixPool, prefix: str) -> None:
    at = found.empty_since(prefix, offered=False)
    if at is None:
        return
    if found.draft.now - at >= DRAINED_SECONDS:
        found.states[prefix] = PrefixState.LEAVING
    else:
        found.draft.decide_by(at + DRAINED_SECONDS)


def unassign(found: PrefixPool) -> None:
    """Unassign what the status says is leaving; a leader that follows goes on with it."""
    recorded = {each.prefix: each.state for each in found.attachment.status.prefixes}
    for wanted in Family:
        for prefix in found.of(wanted, PrefixState.LEAVING):
            if recorded.get(prefix) is PrefixState.LEAVING and prefix in held(found.eni):
                found.draft.call(UnassignPrefix(found.name, found.eni.id, prefix))
                return
            if recorded.get(prefix) is not PrefixState.LEAVING:
                found.draft.decide_by(found.draft.now + 1)
