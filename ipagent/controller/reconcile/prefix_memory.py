"""What answers and decisions change in what is remembered of prefixes.

Descriptions of EC2 may be late, and an assignment by count has no ClientToken. So this process corrects
descriptions by what EC2 has answered to its own calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ipagent.controller.model.actions import AssignPrefixes, UnassignPrefix
from ipagent.controller.model.cloud import Eni
from ipagent.controller.model.prefixes import Family, PrefixMarks, PrefixMemory, family
from ipagent.controller.reconcile.refusals import Kind

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


def remembered(memory: PrefixMemory, marks: PrefixMarks, now: float) -> PrefixMemory:
    """Return the memory after a decision: what it has not seen is forgotten."""
    return replace(
        memory,
        asked=frozenset(marks.asked),
        doubted={key: memory.doubted.get(key, now) for key in marks.doubted},
        differing={key: memory.differing.get(key, now) for key in marks.differing},
        empty={key: memory.empty.get(key, now) for key in marks.empty},
    )


def corrected(memory: PrefixMemory, eni: Eni) -> Eni:
    """Return an ENI as it was described, with what EC2 has answered to our own calls a moment ago."""
    given, taken = memory.given.get(eni.id, {}), memory.taken.get(eni.id, {})
    return changed(eni, add=given, remove=taken) if given or taken else eni


def changed(eni: Eni, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Eni:
    """Return an ENI with other prefixes, each of which takes one address's place."""
    prefixes = eni.prefixes.union(add).difference(remove)
    return replace(eni, prefixes=prefixes, ipv4=eni.ipv4 + _ipv4(prefixes) - _ipv4(eni.prefixes))


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
    return replace(memory, given={**memory.given, eni: plus}, taken={**memory.taken, eni: minus})


def after_refusal(memory: PrefixMemory, call: AssignPrefixes | UnassignPrefix, kind: Kind) -> PrefixMemory:
    """Record that a call has failed: it may have been carried out all the same."""
    if isinstance(call, UnassignPrefix) or kind in CERTAIN:
        return memory
    return replace(memory, asked=memory.asked - {(call.owner, call.family.value)})


def trimmed(memory: PrefixMemory, now: float, seconds: float) -> PrefixMemory:
    """Forget what EC2's descriptions show by now."""
    return replace(
        memory, given=_recent(memory.given, now, seconds), taken=_recent(memory.taken, now, seconds)
    )


def _recent(
    changes: Mapping[str, Mapping[str, float]], now: float, seconds: float
) -> dict[str, dict[str, float]]:
    kept = {
        eni: {prefix: at for prefix, at in each.items() if now - at < seconds}
        for eni, each in changes.items()
    }
    return {eni: each for eni, each in kept.items() if each}


def _ipv4(prefixes: Iterable[str]) -> int:
    return sum(family(each) is Family.IPV4 for each in prefixes)
