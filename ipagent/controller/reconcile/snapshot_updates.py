"""Updates the snapshot of EC2 by answers of EC2 and of the API server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar, assert_never

from ipagent.controller.model.actions import (
    AssignPrefixes,
    Attach,
    Call,
    Create,
    Delete,
    DescribeAll,
    DescribeEnis,
    DescribeInstances,
    Detach,
    ListPods,
    Modify,
    Plan,
    ReadLimits,
    Resolve,
    UnassignPrefix,
    asked,
)
from ipagent.controller.model.ec2_snapshot import (
    ATTACHED,
    ATTACHING,
    DETACHING,
    Ec2Snapshot,
    Eni,
    Limits,
    Refusal,
    Resolved,
)
from ipagent.controller.model.eip_calls import EipCall
from ipagent.controller.model.relay_calls import AddressCall
from ipagent.controller.reconcile import prefix_records
from ipagent.controller.reconcile.ec2_answers import (
    SETTLE,
    Answer,
    Attachment,
    Done,
    Enis,
    Found,
    Prefixes,
    Refused,
    TypeLimits,
    Users,
)
from ipagent.controller.reconcile.ec2_error_conditions import Kind, retry_after

_V = TypeVar("_V")

FORGET = 3600.0
"""Seconds after which old refusals and missing ENIs are forgotten."""


def answered(
    ec2: Ec2Snapshot, call: Call, answer: Answer, now: float, started: float | None = None
) -> Ec2Snapshot:
    """Return the snapshot after the answer to a call that was sent at `started`.

    What a description says of ENIs that were changed since is out of date.
    """
    if isinstance(answer, Refused):
        return _refused(ec2, call, answer, now)
    ec2 = replace(ec2, refusals=_without(ec2.refusals, (call.key,)))
    match call:
        case DescribeAll() | DescribeEnis() | DescribeInstances():
            current = now if started is None else started
            shown = tuple(eni for eni in _enis(answer) if ec2.seen.get(eni.id, current) <= current)
            return _described(ec2, call, shown, _enis(answer), now)
        case Create():
            (eni,) = _enis(answer)
            return replace(_shown(ec2, (eni,), now), made={**ec2.made, eni.id: now})
        case AssignPrefixes() | UnassignPrefix():
            return _prefixes_changed(ec2, call, answer, now)
        case Attach() | Modify() | Detach() | Delete():
            return _changed(ec2, call, answer, now)
        case _:
            return _learnt(ec2, call, answer, now)


def _learnt(
    ec2: Ec2Snapshot,
    call: Resolve | ReadLimits | ListPods | EipCall | AddressCall,
    answer: Answer,
    now: float,
) -> Ec2Snapshot:
    match answer:
        case Found() if isinstance(call, Resolve):
            found = Resolved(now, (call.subnets, call.groups), answer.subnets, answer.groups)
            return replace(ec2, resolved={**ec2.resolved, call.network: found})
        case TypeLimits() if isinstance(call, ReadLimits):
            # A type that EC2 does not know has no limits that could be told.
            unknown = {name: Limits(0) for name in call.types}
            return replace(ec2, limits={**ec2.limits, **unknown, **answer.limits})
        case Users():
            listed = {name: (now, pods) for name, pods in answer.pods.items()}
            return replace(ec2, users={**ec2.users, **listed})
        case _:
            return ec2


def observed(ec2: Ec2Snapshot, plan: Plan, now: float) -> Ec2Snapshot:
    """Record since when ENIs have been without need, and since when adopted ones have looked detached."""
    read = now if ec2.read_at is None else ec2.read_at
    return replace(
        ec2,
        unheld={pair: ec2.unheld.get(pair, now) for pair in plan.unheld},
        orphaned={eni: ec2.orphaned.get(eni, read) for eni in plan.orphans},
        idle={name: ec2.idle.get(name, now) for name in plan.idle},
        prefixes=prefix_records.remembered(ec2.prefixes, plan.prefix_marks, now),
    )


def _enis(answer: Answer) -> tuple[Eni, ...]:
    assert isinstance(answer, Enis)  # noqa: S101 - by the executor
    return answer.enis


def _described(
    ec2: Ec2Snapshot,
    call: DescribeAll | DescribeEnis | DescribeInstances,
    shown: tuple[Eni, ...],
    listed: tuple[Eni, ...],
    now: float,
) -> Ec2Snapshot:
    if isinstance(call, DescribeAll):
        concerned = frozenset(ec2.enis)
    elif isinstance(call, DescribeEnis):
        concerned = frozenset(call.enis)
    else:
        instances = frozenset(call.instances)
        concerned = frozenset(eni.id for eni in ec2.enis.values() if eni.instance in instances)
        ec2 = replace(ec2, instances={**ec2.instances, **dict.fromkeys(call.instances, now)})
    absent = concerned - {eni.id for eni in listed}
    ec2 = _absent(ec2, absent, now) if absent else ec2
    if isinstance(call, DescribeAll):
        instances = frozenset(eni.instance for eni in listed if eni.instance)
        ec2 = _trimmed(replace(ec2, read_at=now, stale=False, instances=dict.fromkeys(instances, now)), now)
    return _shown(ec2, shown, now)


def _trimmed(ec2: Ec2Snapshot, now: float) -> Ec2Snapshot:
    """Forget what says nothing any more."""
    return replace(
        ec2,
        made={eni: at for eni, at in ec2.made.items() if now - at < SETTLE},
        missed={eni: at for eni, at in ec2.missed.items() if now - at < FORGET},
        refusals={key: each for key, each in ec2.refusals.items() if now - each.due < FORGET},
        users={},
        prefixes=prefix_records.trimmed(ec2.prefixes, now),
        seen=_of(ec2.seen, ec2.enis),
        since=_of(ec2.since, ec2.enis),
    )


def _absent(ec2: Ec2Snapshot, absent: Iterable[str], now: float) -> Ec2Snapshot:
    """Forget what EC2 does not show, unless it was created so recently that it may not show it yet."""
    gone = [eni for eni in absent if now - ec2.made.get(eni, now - SETTLE) >= SETTLE]
    missed = {**dict.fromkeys(gone, now), **ec2.missed}
    seen = {**ec2.seen, **dict.fromkeys(absent, now)}
    return replace(ec2, enis=_without(ec2.enis, gone), missed=missed, seen=seen)


def _shown(ec2: Ec2Snapshot, shown: tuple[Eni, ...], now: float) -> Ec2Snapshot:
    ids = [eni.id for eni in shown]
    prefixes = prefix_records.trimmed(ec2.prefixes, now)
    since = {eni.id: ec2.since.get(eni.id, now) for eni in shown if eni.state == ATTACHED}
    others = {eni: at for eni, at in ec2.since.items() if eni not in ids}
    return replace(
        ec2,
        enis={**ec2.enis, **{eni.id: prefix_records.corrected(prefixes, eni) for eni in shown}},
        seen={**ec2.seen, **dict.fromkeys(ids, now)},
        missed=_without(ec2.missed, ids),
        since={**others, **since},
    )


def _changed(
    ec2: Ec2Snapshot, call: Attach | Modify | Detach | Delete, answer: Answer, now: float
) -> Ec2Snapshot:
    eni = ec2.enis.get(call.eni)
    if isinstance(call, Delete):
        missed = {**ec2.missed, call.eni: ec2.missed.get(call.eni, now)}
        return replace(ec2, enis=_without(ec2.enis, (call.eni,)), missed=missed)
    if eni is None:
        return ec2
    match call:
        case Attach():
            assert isinstance(answer, Attachment)  # noqa: S101 - by the executor
            eni = replace(
                eni,
                instance=call.instance,
                attachment=answer.id,
                state=ATTACHING,
                card=call.card,
                device=call.device,
            )
        case Detach():
            eni = replace(eni, state=DETACHING)
        case Modify():
            eni = _modified(eni, call)
        case _:
            assert_never(call)
    return replace(ec2, enis={**ec2.enis, eni.id: eni}, seen={**ec2.seen, eni.id: now})


def _prefixes_changed(
    ec2: Ec2Snapshot, call: AssignPrefixes | UnassignPrefix, answer: Answer, now: float
) -> Ec2Snapshot:
    given = answer.prefixes if isinstance(answer, Prefixes) else ()
    taken = (call.prefix,) if isinstance(call, UnassignPrefix) else ()
    memory = prefix_records.after_change(ec2.prefixes, call.eni, now, given=given, taken=taken)
    if isinstance(call, AssignPrefixes):
        memory = prefix_records.after_assignment(memory, call)
    eni = ec2.enis.get(call.eni)
    enis = {**ec2.enis, call.eni: prefix_records.corrected(memory, eni)} if eni is not None else ec2.enis
    return replace(ec2, enis=enis, seen={**ec2.seen, call.eni: now}, prefixes=memory)


def _modified(eni: Eni, call: Modify) -> Eni:
    if call.source_dest_check is not None:
        return replace(eni, source_dest_check=call.source_dest_check)
    if call.groups is not None:
        return replace(eni, groups=frozenset(call.groups))
    return replace(eni, delete_on_termination=bool(call.delete_on_termination))


_STALE = frozenset(
    {Kind.IN_USE, Kind.ENI_GONE, Kind.ATTACHMENT_GONE, Kind.STATE, Kind.INDEX_TAKEN, Kind.NO_SLOT}
)
"""Refusals that show that the snapshot is out of date."""


def _refused(ec2: Ec2Snapshot, call: Call, answer: Refused, now: float) -> Ec2Snapshot:
    if isinstance(call, Delete) and answer.kind is Kind.ENI_GONE:
        return answered(ec2, call, Done(), now)
    if isinstance(call, AssignPrefixes) and call.single and answer.kind is Kind.NO_BLOCKS:
        # EC2 has one text for both: a subnet without so many single addresses is full.
        answer = replace(answer, kind=Kind.SUBNET_FULL)
    before = ec2.refusals.get(call.key)
    same = before is not None and (before.action, before.kind) == (answer.action, answer.kind)
    count = before.count + 1 if before is not None and same else 1
    refusal = Refusal(
        answer.action,
        answer.kind,
        answer.text,
        count,
        now + retry_after(answer.kind, count),
        call.token if isinstance(call, Create) else "",
        asked(call),
    )
    if prefix_records.is_fragmentation(call, answer.kind):
        # Single addresses take its place at once; prefixes are tried again much later.
        refusal = replace(refusal, due=now)
    ec2 = replace(ec2, refusals={**ec2.refusals, call.key: refusal})
    if answer.kind is Kind.MISMATCH:
        # An ENI of that token exists, and its tags will tell.
        return replace(ec2, stale=True)
    if isinstance(call, AssignPrefixes | UnassignPrefix):
        memory = prefix_records.after_refusal(ec2.prefixes, call, answer.kind, answer.text, now)
        return replace(ec2, prefixes=memory, seen=_without(ec2.seen, (call.eni,)))
    if answer.kind in _STALE and isinstance(call, Attach | Detach | Delete | Modify):
        instances = _without(ec2.instances, (call.instance,)) if isinstance(call, Attach) else ec2.instances
        return replace(ec2, seen=_without(ec2.seen, (call.eni,)), instances=instances)
    return ec2


def _without(mapping: Mapping[str, _V], keys: Collection[str]) -> Mapping[str, _V]:
    if not any(key in mapping for key in keys):
        return mapping
    return {key: value for key, value in mapping.items() if key not in frozenset(keys)}


def _of(mapping: Mapping[str, float], keys: Collection[str]) -> dict[str, float]:
    return {key: value for key, value in mapping.items() if key in keys}
