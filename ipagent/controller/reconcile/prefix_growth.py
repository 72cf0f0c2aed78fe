"""Growth: when an ENI gets another prefix, or single addresses if the subnet has no whole prefix left.

An assignment by count is not idempotent. So the status says that it is about to be made (`assigning`)
before it is: a leader that finds this of another one waits until descriptions must show what became of it.
"""

from __future__ import annotations

from math import ceil

from ipagent.controller.model.actions import AssignPrefixes
from ipagent.controller.model.prefixes import IPV4_SIZE, Family, Ipam, PrefixState, family, size
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.prefix_pool import LOOK_AGAIN, RETRY_SECONDS, PrefixPool, seen_since

LOW_WATER = 8
"""Free addresses at which more are assigned, so that they come before the last one is gone."""
SINGLES = 8
"""Single addresses that are assigned in one call."""


def grow(found: PrefixPool) -> str:
    """Ask for what is missing, one family at a time; returns that family, empty if none is."""
    if _doubtful(found):
        return found.attachment.status.assigning
    # A family that pods can't have yet comes first: another one's growth may be refused again and again.
    for wanted in sorted(Family, key=lambda each: bool(found.of(each, PrefixState.ACTIVE))):
        if _grow_by_prefixes(found, wanted) or _grow_by_singles(found, wanted):
            return wanted.value
    return ""


def _grow_by_prefixes(found: PrefixPool, wanted: Family) -> bool:
    missing = max(0, _missing(found, wanted))
    # What drains of a network of whereabouts was host-local's: pods may have addresses of it.
    again = () if found.spec.ipam is Ipam.WHEREABOUTS else found.blocks(wanted, PrefixState.DRAINING)
    for prefix in again[:missing]:
        found.states[prefix] = PrefixState.ACTIVE
        missing -= 1
    # What EC2 shows and is not believed yet may be what another leader has asked for.
    strange = [p for p in found.eni.prefixes if family(p) is wanted and p not in found.states]
    count = min(missing - len(strange), _places(found, wanted))
    if count <= 0:
        return False
    refused = found.fragmentation(wanted)
    if refused is not None and refused.count == 1:
        found.draft.decide_by(refused.at + RETRY_SECONDS)
        return False
    # A subnet that is fragmented may have one block still.
    _assign(found, wanted, 1 if refused is not None else count)
    return True


def _missing(found: PrefixPool, wanted: Family) -> int:
    active = found.blocks(wanted, PrefixState.ACTIVE)
    least = found.least(wanted) - len(active)
    if least > 0 or wanted is Family.IPV6:
        return least
    short = LOW_WATER + 1 - found.free(wanted) if found.reported(wanted) else 0
    return min(ceil(short / IPV4_SIZE), found.spec.max_ipv4 - len(active))


def _places(found: PrefixPool, wanted: Family) -> int:
    """Return how many more prefixes the ENI takes."""
    if wanted is Family.IPV6:
        return found.spec.ipv6
    lent = found.blocks(Family.IPV4, PrefixState.LENT)
    here = sum(family(p) is Family.IPV4 for p in found.eni.prefixes if p not in lent)
    slots = found.slots(wanted)
    return min(found.spec.max_ipv4 - here, found.spec.max_ipv4 if slots is None else slots)


def _grow_by_singles(found: PrefixPool, wanted: Family) -> bool:
    """Ask for single addresses where pods need some, and there is no prefix."""
    active = found.of(wanted, PrefixState.ACTIVE)
    if not found.single_only(wanted) or not found.least(wanted) or found.spec.ipam is not Ipam.HOST_LOCAL:
        return False
    if active and not (found.reported(wanted) and found.free(wanted) <= LOW_WATER):
        return False
    missing = min(SINGLES, found.most(wanted) - sum(map(size, found.of(wanted, *PrefixState))))
    for each in found.singles(wanted, PrefixState.DRAINING)[: max(0, missing)]:
        found.states[each] = PrefixState.ACTIVE
        missing -= 1
    slots = found.slots(wanted)
    count = missing if slots is None else min(missing, slots)
    if count <= 0:
        return False
    refusal = found.refusal()
    # Of a subnet that is almost full, each address counts.
    scarce = refusal is not None and refusal.kind in (Kind.SUBNET_FULL, Kind.ENI_FULL)
    _assign(found, wanted, 1 if scarce else count, single=True)
    return True


def _assign(found: PrefixPool, wanted: Family, count: int, *, single: bool = False) -> None:
    """Make the call, once the status says so."""
    draft = found.draft
    draft.prefix_marks.asked.add((found.name, wanted.value))
    if found.attachment.status.assigning == wanted.value:
        draft.call(AssignPrefixes(found.name, found.eni.id, wanted, count, single))
    else:
        draft.decide_by(draft.now + 1)


def _doubtful(found: PrefixPool) -> bool:
    """Return whether a call may have been made whose effect EC2's descriptions need not show yet.

    Also where nothing is missing: descriptions may go back in time, and more may be missing soon.
    """
    draft, asking = found.draft, found.attachment.status.assigning
    memory, eni = draft.state.ec2.prefixes, found.eni.id
    if not asking or (found.name, asking) in memory.asked:
        return False
    if seen_since(draft, eni, memory.doubted.get(found.name)):
        return False
    draft.prefix_marks.doubted.add(found.name)
    draft.describe_eni(eni, LOOK_AGAIN)
    return True
