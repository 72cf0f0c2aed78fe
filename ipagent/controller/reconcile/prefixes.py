"""The prefixes of a NodeAttachment's ENI: as many as its pods need, and none is taken away that a pod uses.

A prefix goes in three steps that the NodeAttachment records: `Draining`, and the node hands out none of its
addresses any more; `Leaving`, once the node has reported for long enough that it does not and that no pod has
one; and then it is unassigned. Only a draining one can become active again.

An assignment by count is not idempotent. So the status says that it is about to be made (`assigning`)
before it is: a leader that finds this of another one waits until descriptions must show what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ipagent.controller.model.actions import AssignPrefixes, UnassignPrefix, prefix_key
from ipagent.controller.model.attachment import Attachment
from ipagent.controller.model.cloud import Eni
from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.network import NodeNetwork
from ipagent.controller.model.prefixes import (
    IPV4_SIZE,
    Family,
    PrefixSpec,
    PrefixState,
    PrefixStatus,
    PrefixUse,
    family,
    in_order,
)
from ipagent.controller.reconcile.answers import SETTLE
from ipagent.controller.reconcile.draft import Draft, Pair, PoolStatus
from ipagent.controller.reconcile.refusals import Kind, condition_of

LOW_WATER = 8
"""Free IPv4 addresses at which another prefix is assigned, so that it comes before the last one is gone."""
SPARE = 16
"""Free IPv4 addresses that must be left beside a prefix that is given back."""
EMPTY_SECONDS = 600.0
DRAINED_SECONDS = 300.0
"""A pod whose sandbox was begun with the former configuration has its address by then: the kubelet gives
RunPodSandbox twice its runtimeRequestTimeout of two minutes."""
LOOK_AGAIN = 10.0
_NONE = PrefixSpec(0, 0, 0)


def capacity(spec: PrefixSpec, limit: int, others: int) -> int:
    """Return how many IPv4 addresses an ENI's prefixes can have.

    `limit` is what the instance type allows on an ENI; `others` are the addresses that are not prefixes, the
    primary among them.
    """
    return IPV4_SIZE * max(0, min(spec.max_ipv4, limit - others))


@dataclass(slots=True)
class _Prefixes:
    """The prefixes of one ENI while it is decided about them."""

    draft: Draft
    attachment: Attachment
    network: NodeNetwork
    eni: Eni
    spec: PrefixSpec
    states: dict[str, PrefixState] = field(default_factory=dict)
    """Those that are recorded, in order, and what becomes of them."""

    @property
    def name(self) -> str:
        return self.attachment.name

    def of(self, wanted: Family, *states: PrefixState) -> list[str]:
        """Return the recorded ones of a family that are in one of these states."""
        return [p for p in self.states if family(p) is wanted and self.states[p] in states]

    def use(self, prefix: str) -> PrefixUse | None:
        """Return what the node reports of a prefix."""
        return self.attachment.pool.prefixes.get(prefix) if self.attachment.pool else None

    def used(self, prefix: str) -> int:
        """Return how many pods have addresses of a prefix, as far as is known."""
        found = self.use(prefix)
        return found.used if found else 0

    def free(self) -> int:
        """Return the IPv4 addresses that new pods can have."""
        return sum(IPV4_SIZE - self.used(p) for p in self.of(Family.IPV4, PrefixState.ACTIVE))

    def empty_since(self, prefix: str, *, offered: bool) -> float | None:
        """Return since when the node has reported that no pod has an address of it; None if one has."""
        found = self.use(prefix)
        if found is None or found.used or found.offered is not offered:
            return None
        key = (self.name, prefix, offered)
        self.draft.prefix_marks.empty.add(key)
        return self.draft.state.cloud.prefixes.empty.get(key, self.draft.now)


def advance(draft: Draft, pair: Pair, eni: Eni) -> Condition | None:
    """Decide about an ENI's prefixes; returns None where the network has none, and never had."""
    attachment, spec = pair.attachment, pair.network.prefixes
    recorded = attachment.status.prefixes if attachment.status.eni in ("", eni.id) else ()
    if spec is None and not recorded:
        return None
    found = _Prefixes(draft, attachment, pair.network, eni, spec or _NONE)
    found.states = dict(_present(found, recorded))
    key = prefix_key(attachment.name)
    if key in draft.state.busy:
        asking = attachment.status.assigning
        draft.prefix_marks.asked |= {each for each in _asked(found) if each[0] == found.name}
    else:
        asking = _grow(found)
        if not asking:
            _shrink(found)
        _unassign(found)
    statuses = tuple(PrefixStatus(p, state) for p, state in found.states.items())
    draft.pools[attachment.name] = PoolStatus(statuses, asking, _room(found))
    return _condition(found, asking, key)


def _present(found: _Prefixes, recorded: tuple[PrefixStatus, ...]) -> Iterator[tuple[str, PrefixState]]:
    """Return the prefixes that the ENI has.

    What the record and EC2 say differently counts as the record has it, until EC2 has said so for a minute:
    descriptions may be late, and an address that is not on the ENI must not be handed out.
    """
    memory, eni = found.draft.state.cloud.prefixes, found.eni
    states = {each.prefix: each.state for each in recorded}
    for prefix in in_order({*states, *eni.prefixes}):
        shown, own = prefix in eni.prefixes, prefix in memory.given.get(eni.id, {})
        if prefix in states and (shown or not _settled(found, prefix)):
            if prefix not in memory.taken.get(eni.id, {}):
                yield prefix, states[prefix]
        elif prefix not in states and shown and (own or _settled(found, prefix)):
            yield prefix, PrefixState.ACTIVE


def _settled(found: _Prefixes, prefix: str) -> bool:
    """Return whether EC2 has differed from the record for so long that it is right."""
    draft, key = found.draft, (found.name, prefix)
    draft.prefix_marks.differing.add(key)
    draft.look_at(found.eni.id, LOOK_AGAIN)
    return _seen_since(draft, found.eni.id, draft.state.cloud.prefixes.differing.get(key))


def _seen_since(draft: Draft, eni: str, since: float | None) -> bool:
    return since is not None and draft.state.cloud.seen.get(eni, since) - since >= SETTLE


def _grow(found: _Prefixes) -> str:
    """Ask for prefixes that are missing, one family at a time; returns that family, empty if none is."""
    # A family that pods can't have yet comes first: another one's growth may be refused again and again.
    for wanted in sorted(Family, key=lambda each: bool(found.of(each, PrefixState.ACTIVE))):
        missing = max(0, _missing(found, wanted))
        for prefix in found.of(wanted, PrefixState.DRAINING)[:missing]:
            found.states[prefix] = PrefixState.ACTIVE
            missing -= 1
        # What EC2 shows and is not believed yet may be what another leader has asked for.
        strange = [p for p in found.eni.prefixes if family(p) is wanted and p not in found.states]
        count = min(missing - len(strange), _places(found, wanted))
        if count > 0:
            # A subnet that is fragmented may have one block still.
            _assign(found, wanted, 1 if _fragmented(found) else count)
            return wanted.value
    return ""


def _fragmented(found: _Prefixes) -> bool:
    refusal = found.draft.refusal(prefix_key(found.name))
    return refusal is not None and refusal.kind == Kind.NO_BLOCKS


def _missing(found: _Prefixes, wanted: Family) -> int:
    active = found.of(wanted, PrefixState.ACTIVE)
    if wanted is Family.IPV6:
        return found.spec.ipv6 - len(active)
    least = found.spec.ipv4 - len(active)
    if least > 0:
        return least
    pool = found.attachment.pool
    reported = pool is not None and all(p in pool.prefixes for p in active)
    low = bool(active) and reported and found.free() <= LOW_WATER
    return 1 if low and len(active) < found.spec.max_ipv4 else 0


def _places(found: _Prefixes, wanted: Family) -> int:
    """Return how many more prefixes the ENI takes."""
    if wanted is Family.IPV6:
        return found.spec.ipv6
    here = sum(family(p) is Family.IPV4 for p in found.eni.prefixes)
    limit = _limit(found)
    return min(found.spec.max_ipv4 - here, limit - found.eni.ipv4 if limit else found.spec.max_ipv4)


def _limit(found: _Prefixes) -> int:
    node = found.draft.state.nodes.get(found.attachment.node)
    limits = found.draft.state.cloud.limits.get(node.type) if node else None
    return limits.ipv4 if limits else 0


def _asked(found: _Prefixes) -> frozenset[tuple[str, str]]:
    return found.draft.state.cloud.prefixes.asked


def _assign(found: _Prefixes, wanted: Family, count: int) -> None:
    """Make the call, once the status says so, and unless another leader may have made it."""
    draft, key = found.draft, (found.name, wanted.value)
    if found.attachment.status.assigning != wanted.value:
        draft.prefix_marks.asked.add(key)
        draft.wait(draft.now + 1)
    elif key in _asked(found) or _cleared(found):
        draft.prefix_marks.asked.add(key)
        draft.call(AssignPrefixes(found.name, found.eni.id, wanted, count))
    else:
        draft.prefix_marks.doubted.add(found.name)
        draft.look_at(found.eni.id, LOOK_AGAIN)


def _cleared(found: _Prefixes) -> bool:
    """Return whether EC2 has been described often enough to show what a former leader has done."""
    draft = found.draft
    return _seen_since(draft, found.eni.id, draft.state.cloud.prefixes.doubted.get(found.name))


def _shrink(found: _Prefixes) -> None:
    """Drain what has been empty for long, and all of what the network does not have any more."""
    now = found.draft.now
    for wanted, least in ((Family.IPV4, found.spec.ipv4), (Family.IPV6, found.spec.ipv6)):
        active = found.of(wanted, PrefixState.ACTIVE)
        if not least:
            found.states |= dict.fromkeys(active, PrefixState.DRAINING)
        since = {p: found.empty_since(p, offered=True) for p in active}
        spare = found.free() - IPV4_SIZE >= SPARE or wanted is Family.IPV6
        long = [p for p, at in since.items() if at is not None and now - at >= EMPTY_SECONDS]
        for at in since.values():
            if at is not None and len(active) > least > 0 and now - at < EMPTY_SECONDS:
                found.draft.wait(at + EMPTY_SECONDS)
        if least and len(active) > least and spare and long:
            found.states[long[-1]] = PrefixState.DRAINING
        for prefix in found.of(wanted, PrefixState.DRAINING):
            _leave(found, prefix)


def _leave(found: _Prefixes, prefix: str) -> None:
    at = found.empty_since(prefix, offered=False)
    if at is None:
        return
    if found.draft.now - at >= DRAINED_SECONDS:
        found.states[prefix] = PrefixState.LEAVING
    else:
        found.draft.wait(at + DRAINED_SECONDS)


def _unassign(found: _Prefixes) -> None:
    """Unassign what the status says is leaving; a leader that follows goes on with it."""
    recorded = {each.prefix: each.state for each in found.attachment.status.prefixes}
    for wanted in Family:
        for prefix in found.of(wanted, PrefixState.LEAVING):
            if recorded.get(prefix) is PrefixState.LEAVING and prefix in found.eni.prefixes:
                found.draft.call(UnassignPrefix(found.name, found.eni.id, prefix))
                return
            if recorded.get(prefix) is not PrefixState.LEAVING:
                found.draft.wait(found.draft.now + 1)


def _room(found: _Prefixes) -> int | None:
    """Return how many more IPv4 addresses the pods can have, with the prefixes that may still come."""
    limit = _limit(found)
    if not limit or not found.spec.ipv4:
        return None
    here = found.of(Family.IPV4, *PrefixState)
    others = found.eni.ipv4 - sum(family(p) is Family.IPV4 for p in found.eni.prefixes)
    return max(0, capacity(found.spec, limit, others) - sum(map(found.used, here)))


def _condition(found: _Prefixes, asking: str, key: str) -> Condition:
    """Return whether pods get addresses on the node."""
    if not found.spec.ipv4 and not found.spec.ipv6:
        return unknown("Draining", "prefixes are given back once no pod has an address of them")
    refusal = found.draft.refusal(key)
    refused = condition_of(refusal) if refusal is not None else None
    pool = found.attachment.pool
    active = {wanted: found.of(wanted, PrefixState.ACTIVE) for wanted in found.spec.cni.families}
    missing = next((wanted for wanted, prefixes in active.items() if not prefixes), None)
    if missing is not None:
        return refused or _missing_condition(found, missing, asking)
    if pool is not None and pool.message:
        return no("NodeRefused", pool.message)
    for prefixes in active.values():
        if not any(use.offered for p in prefixes if (use := found.use(p)) is not None):
            text = f"the node has not written its CNI configuration for {', '.join(prefixes)}"
            return unknown("WaitingForNode", text)
    if refused is not None and asking:
        return yes(refused.reason, f"pods get the addresses that are left; {refused.message}")
    return yes("Offered")


def _missing_condition(found: _Prefixes, wanted: Family, asking: str) -> Condition:
    if asking:
        return unknown("Assigning", f"an {wanted} prefix is being assigned to {found.eni.id}")
    strange = [p for p in in_order(found.eni.prefixes) if family(p) is wanted]
    if strange:
        return unknown("Reading", f"EC2 shows {', '.join(strange)}: it is looked at again within a minute")
    return no("NoPlace", _no_place(found))


def _no_place(found: _Prefixes) -> str:
    return (
        f"{found.eni.id} has {found.eni.ipv4} addresses and prefixes, and {_limit(found)} are allowed: "
        "free some, or use a larger instance type"
    )
