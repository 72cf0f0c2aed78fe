"""Updates the records of prefixes by answers and decisions.

Descriptions of EC2 may be late, and an assignment by count has no ClientToken. So this process corrects
descriptions by what EC2 has answered to its own calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ipagent.controller.model.actions import AssignPrefixes, UnassignPrefix
from ipagent.controller.model.ec2_snapshot import Eni
from ipagent.controller.model.prefixes import (
    Family,
    Fragmentation,
    PrefixMarks,
    PrefixMemory,
    address_of,
    family,
    is_single,
    single,
)
from ipagent.controller.reconcile.ec2_answers import SETTLE
from ipagent.controller.reconcile.ec2_error_conditions import Kind

CERTAIN = frozenset(
    {
        Kind.THROTTLED,
        Kind.NOT_PERMITTED,
        Kind.NO_CREDENTIALS,
        Kind.NO_BLOCKS,
        Kind.ENI_FULL,
        Kind.ENI_GONE,
        Kind.STATE,
        Kind.UNSUPPORTED,
    }
)
"""Refusals that say that nothing was assigned; after others the ENI is looked at before a retry."""
FORGET = 3600.0
"""Seconds after which a subnet's fragmentation is forgotten, if it was not confirmed since."""


def remembered(memory: PrefixMemory, marks: PrefixMarks, now: float) -> PrefixMemory:
    """Return the memory after a decision: what it has not seen is forgotten."""
    return replace(
        memory,
        asked=frozenset(marks.asked),
        doubted={key: memory.doubted.get(key, now) for key in marks.doubted},
        differing={key: memory.differing.get(key, now) for key in marks.differing},
        empty={key: memory.empty.get(key, now) for key in marks.empty},
        singles=_unrecorded(memory, marks),
    )


def corrected(memory: PrefixMemory, eni: Eni) -> Eni:
    """Return an ENI as it was described, with what EC2 has answered to our own calls a moment ago."""
    given, taken = memory.given.get(eni.id, {}), memory.taken.get(eni.id, {})
    return changed(eni, add=given, remove=taken) if given or taken else eni


def changed(eni: Eni, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Eni:
    """Return an ENI with other prefixes and single addresses; each prefix takes one address's place."""
    before, more, less = held(eni), frozenset(add), frozenset(remove)
    after = (before | more) - less
    lone = frozenset(filter(is_single, after))
    addresses = frozenset(map(address_of, lone))
    return replace(
        eni, prefixes=after - lone, addresses=addresses, ipv4=eni.ipv4 + _ipv4(after) - _ipv4(before)
    )


def held(eni: Eni) -> frozenset[str]:
    """Return an ENI's prefixes, and its secondary addresses as prefixes of one address."""
    return eni.prefixes.union(map(single, eni.addresses))


def after_change(
    memory: PrefixMemory, eni: str, now: float, *, given: Iterable[str] = (), taken: Iterable[str] = ()
) -> PrefixMemory:
    """Record what EC2 has answered."""
    plus, minus = {**memory.given.get(eni, {})}, {**memory.taken.get(eni, {})}
    for prefix in given:
        plus[prefix] = now
        minus.pop(prefix, None)
    for prefix in taken:
        minus[prefix] = now
        plus.pop(prefix, None)
    lone = memory.singles.get(eni, frozenset()).union(filter(is_single, given)).difference(taken)
    return replace(
        memory,
        given={**memory.given, eni: plus},
        taken={**memory.taken, eni: minus},
        singles={**memory.singles, eni: lone},
    )


def after_assignment(memory: PrefixMemory, call: AssignPrefixes) -> PrefixMemory:
    """Record that EC2 had what was asked for: the subnet has prefixes again."""
    key = call.owner, call.family.value
    if call.single or key not in memory.fragmented:
        return memory
    return replace(memory, fragmented={each: at for each, at in memory.fragmented.items() if each != key})


def after_refusal(
    memory: PrefixMemory, call: AssignPrefixes | UnassignPrefix, kind: Kind, text: str, now: float
) -> PrefixMemory:
    """Record that a call has failed: it may have been carried out anyway."""
    if isinstance(call, UnassignPrefix):
        return memory
    key = call.owner, call.family.value
    if is_fragmentation(call, kind):
        return replace(memory, fragmented={**memory.fragmented, key: Fragmentation(now, call.count, text)})
    return memory if kind in CERTAIN else replace(memory, asked=memory.asked - {key})


def is_fragmentation(call: object, kind: str) -> bool:
    """Return whether a refusal leads to fewer prefixes, or to single addresses, instead of to a retry."""
    return isinstance(call, AssignPrefixes) and not call.single and kind == Kind.NO_BLOCKS


def trimmed(memory: PrefixMemory, now: float) -> PrefixMemory:
    """Forget what EC2's descriptions show by now."""
    return replace(
        memory,
        given=_recent(memory.given, now),
        taken=_recent(memory.taken, now),
        fragmented={key: each for key, each in memory.fragmented.items() if now - each.at < FORGET},
    )


def _unrecorded(memory: PrefixMemory, marks: PrefixMarks) -> dict[str, frozenset[str]]:
    found = {
        eni: frozenset(each for each in lone if (eni, each) not in marks.recorded)
        for eni, lone in memory.singles.items()
    }
    return {eni: lone for eni, lone in found.items() if lone}


def _recent(changes: Mapping[str, Mapping[str, float]], now: float) -> dict[str, dict[str, float]]:
    kept = {
        eni: {prefix: at for prefix, at in each.items() if now - at < SETTLE} for eni, each in changes.items()
    }
    return {eni: each for eni, each in kept.items() if each}


def _ipv4(prefixes: Iterable[str]) -> int:
    return sum(family(each) is Family.IPV4 for each in prefixes)
