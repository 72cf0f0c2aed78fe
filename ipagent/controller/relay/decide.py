"""Decides about requests of node agents: calls to EC2, and answers. Pure.

The leader carries out each request that has no answer. Every call may be repeated, so a leader may end
after any of them. One call describes the ENIs of many nodes. Changes of one ENI that concern the same
address are made in the order of their requests. A call that was sent is awaited even if the node has
withdrawn its request: EC2 might carry it out after a later one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.token_bucket import BucketsByKey, Rate
from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.ec2_error_codes import Failure
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import (
    MAX_INTERFACES,
    UNASSIGNS,
    Action,
    RelayAnswer,
    RelayAnswers,
    RelayCall,
    RelayRequests,
    holding_only,
)
from ipagent.controller.model.call_rank import Rank
from ipagent.controller.model.ec2_snapshot import Eni
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.relay import HolderAnswer, RelayPlan, RelayState
from ipagent.controller.model.relay_calls import (
    AddressCall,
    AddressChange,
    AssignAddresses,
    DescribeAttached,
    DescribeSubnetHolders,
    LookUpHolders,
    Place,
    RequestKey,
    UnassignAddresses,
    requests_of,
)
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.plan_draft import MAX_IDS
from ipagent.controller.relay.permission import own_interface, refusal, why_not_taken

LOOK_SECONDS = 10.0
"""How long a look tells whose an address is that is to be taken over."""
TAKEN_SECONDS = 60.0
"""How long after a takeover the same address is taken again without a look, as node agents do it."""
PATIENCE = 15.0
"""Seconds for which throttled calls are made again: a node agent waits a little longer for its answer."""
PACE = Rate(60, 2)
"""Requests of one NodeAttachment: a node agent that is busy begins fewer."""


@dataclass(slots=True)
class _Draft:
    """What has been decided so far; `wall` is the time in seconds since 1970."""

    state: RelayState
    paces: BucketsByKey[str]
    cluster: State
    now: float
    wall: float
    requested: set[RequestKey] = field(default_factory=set)
    waiting: dict[RequestKey, Action] = field(default_factory=dict)
    answers: dict[RequestKey, RelayAnswer] = field(default_factory=dict)
    responses: dict[str, RelayAnswers] = field(default_factory=dict)
    due: float = float("inf")
    changes: list[tuple[int, float, AddressChange]] = field(default_factory=list)
    """With the number of the call among its node's of this rank, and when the node was served last."""
    describes: dict[RequestKey, str] = field(default_factory=dict)
    subnets: dict[str, dict[RequestKey, tuple[IPAddress, ...]]] = field(default_factory=dict)
    places: dict[Place, set[RequestKey]] = field(default_factory=dict)
    turns: Counter[tuple[str, Rank]] = field(default_factory=Counter)
    flying: frozenset[RequestKey] = field(init=False)
    changing: frozenset[Place] = field(init=False)
    """Addresses that calls on their way change."""

    def __post_init__(self) -> None:
        calls = [call for call in self.cluster.busy.values() if isinstance(call, AddressCall)]
        self.flying = frozenset(key for call in calls for key in requests_of(call))
        changes = [call for call in calls if isinstance(call, AddressChange)]
        self.changing = frozenset((call.subnet, each) for call in changes for each in call.addresses)
        self.turns.update((call.node, call.rank) for call in changes)

    def begins(self, key: RequestKey) -> bool:
        """Whether a request may be worked off now: a throttled call waits, and each node has its pace."""
        throttled = self.state.throttled.get(key)
        if throttled is not None:
            if self.now < throttled.due:
                self.due = min(self.due, throttled.due)
                return False
            return True
        wait = self.paces.of(key.attachment).wait(self.now)
        if wait > 0:
            self.due = min(self.due, self.now + wait)
        return wait <= 0

    def lookup(self, key: RequestKey, places: Iterable[Place], since: float) -> list[HolderAnswer] | None:
        """Return the answers about these places, as of `since` or later; None: EC2 is asked."""
        found = [(place, self.state.lookups.get(place)) for place in places]
        known = [answer for _, answer in found if answer is not None and answer.at >= since]
        if len(known) == len(found):
            return known
        for place, answer in found:
            if answer is None or answer.at < since:
                self.places.setdefault(place, set()).add(key)
        return None

    def fail(self, key: RequestKey, failure: Failure, enis: Iterable[EniDetails] = ()) -> None:
        """Answer a request with a failure."""
        interfaces = tuple(enis)[:MAX_INTERFACES]
        self.answers[key] = RelayAnswer(key.call, interfaces=interfaces, failure=failure)


def decide(state: RelayState, paces: BucketsByKey[str], cluster: State, now: float, wall: float) -> RelayPlan:
    """Return what is to be done at `now` (monotonic seconds); `wall` is the same moment since 1970.

    `paces` are the NodeAttachments' buckets of PACE, of which it takes nothing.
    """
    draft = _Draft(state, paces, cluster, now, wall)
    for attachment in cluster.attachments.values():
        if attachment.requests is not None:
            _take(draft, attachment, attachment.requests)
    return RelayPlan(
        calls=(*_looks(draft), *_changes(draft)),
        answers=draft.answers,
        responses=draft.responses,
        requested=frozenset(draft.requested),
        waiting=draft.waiting,
        due=draft.due,
    )


def _take(draft: _Draft, attachment: Attachment, requests: RelayRequests) -> None:
    """Work off the requests of a NodeAttachment, as far as that needs no call."""
    observed = attachment.responses.of(requests.session)
    known: dict[int, RelayAnswer] = dict(observed)
    touched: set[IPAddress] = set()
    own = own_interface(draft.cluster, attachment) if requests.calls else None
    for call in requests.calls:
        key = RequestKey(attachment.name, requests.session, call.id)
        draft.requested.add(key)
        if key in draft.state.answers:
            known[call.id] = draft.state.answers[key]
        if call.id in known:
            continue
        draft.waiting[key] = call.action
        changed = frozenset(call.addresses if call.change is not None else ())
        if key not in draft.flying and touched.isdisjoint(changed):
            _step(draft, key, attachment, call, own)
        touched |= changed
        if key in draft.answers:
            known[call.id] = draft.answers[key]
    wanted = requests.retained(RelayAnswers(requests.session, tuple(known.values())))
    if any(each.id not in observed for each in wanted.answers):
        draft.responses[attachment.name] = wanted


def _step(
    draft: _Draft, key: RequestKey, attachment: Attachment, call: RelayCall, own: Eni | Failure | None
) -> None:
    """Decide the next step for a request that no call is on its way for."""
    failure = _hopeless(draft, key, attachment)
    if failure is None and isinstance(own, Failure):
        failure = own
    if failure is None and isinstance(own, Eni):
        failure = refusal(draft.cluster, attachment, own, call, draft.state.allowed)
    if failure is not None:
        draft.fail(key, failure)
    elif isinstance(own, Eni) and draft.begins(key):
        (_ask if call.change is None else _change)(draft, key, call, own)


def _hopeless(draft: _Draft, key: RequestKey, attachment: Attachment) -> Failure | None:
    """Return why a request is not worked off, or no longer; None if it is."""
    throttled = draft.state.throttled.get(key)
    if throttled is not None and draft.now - draft.state.seen.get(key, draft.now) >= PATIENCE:
        held = draft.state.held.get(key)
        return throttled.failure if held is None else held.failure
    assert attachment.requests is not None  # noqa: S101 - by the caller
    return attachment.requests.expired(draft.wall)


def _ask(draft: _Draft, key: RequestKey, call: RelayCall, own: Eni) -> None:
    if call.action is Action.DESCRIBE:
        draft.describes[key] = own.id
    elif call.action is Action.PREFIX_HOLDERS:
        draft.subnets.setdefault(own.subnet, {})[key] = call.addresses
    else:
        since = draft.state.seen.get(key, draft.now)
        lookups = draft.lookup(key, [(own.subnet, each) for each in call.addresses], since)
        if lookups is not None:
            failure = next((answer.failure for answer in lookups if answer.failure is not None), None)
            enis = () if failure is not None else holding_only(_distinct(lookups), call.addresses)
            draft.answers[key] = RelayAnswer(call.id, interfaces=enis[:MAX_INTERFACES], failure=failure)


def _change(draft: _Draft, key: RequestKey, call: RelayCall, own: Eni) -> None:
    places = [(own.subnet, each) for each in call.addresses]
    held = draft.state.held.get(key)
    if held is not None:
        lookups = draft.lookup(key, places, held.at)
        if lookups is not None:
            draft.fail(key, held.failure, holding_only(_distinct(lookups), call.addresses))
        return
    reassign = False
    if call.action in UNASSIGNS and call.eni == own.id:
        pass
    elif call.action in UNASSIGNS or (call.allow_reassignment and call.action is Action.ASSIGN_IPV4):
        verdict = _takeover(draft, key, call, own)
        if verdict is None:
            return
        reassign = verdict
    if not draft.changing.isdisjoint(places):
        return
    node = draft.cluster.attachments[key.attachment].node
    change: AddressChange
    if call.action in UNASSIGNS:
        rank = Rank.FREE if call.eni == own.id else Rank.ASSIGN
        change = UnassignAddresses(key, node, call.eni, own.subnet, call.addresses, rank)
    else:
        change = AssignAddresses(key, node, own.id, own.subnet, call.addresses, reassign)
    turn = node, change.rank
    draft.changes.append((draft.turns[turn], draft.state.served.get(node, float("-inf")), change))
    draft.turns[turn] += 1


def _takeover(draft: _Draft, key: RequestKey, call: RelayCall, own: Eni) -> bool | None:
    """Return whether addresses may be taken from other ENIs; None where that is refused, or looked up first.

    Without a holder there is nothing to take: EC2 refuses what somebody has got meanwhile.
    """
    off = call.eni if call.action in UNASSIGNS else ""
    places = [(own.subnet, each) for each in call.addresses]
    recent = draft.now - TAKEN_SECONDS
    if not off and all(draft.state.taken.get(place, recent) > recent for place in places):
        return True
    lookups = draft.lookup(key, places, draft.now - LOOK_SECONDS)
    if lookups is None:
        return None
    held = True
    for address, answer in zip(call.addresses, lookups, strict=True):
        failure = answer.failure or why_not_taken(address, own.id, answer.enis, off=off)
        if failure is not None:
            draft.fail(key, failure, holding_only(answer.enis, (address,)))
            return None
        held &= any(eni.eni_id != own.id for eni in answer.enis)
    return held


def _distinct(lookups: Iterable[HolderAnswer]) -> tuple[EniDetails, ...]:
    return tuple({eni.eni_id: eni for answer in lookups for eni in answer.enis}.values())


def _looks(draft: _Draft) -> list[AddressCall]:
    found: list[AddressCall] = []
    asked: dict[str, None] = {}
    for eni in draft.describes.values():
        if len(asked) < MAX_IDS:
            asked[eni] = None
    if asked:
        requests = tuple((key, eni) for key, eni in draft.describes.items() if eni in asked)
        found.append(DescribeAttached(tuple(asked), requests))
    found += [call for version in (4, 6) if (call := _holders(draft.places, version)) is not None]
    found += [
        DescribeSubnetHolders(subnet, tuple(requests.items())) for subnet, requests in draft.subnets.items()
    ]
    return [call for call in found if call.key not in draft.cluster.busy]


def _holders(places: Mapping[Place, set[RequestKey]], version: int) -> LookUpHolders | None:
    chosen: dict[Place, None] = {}
    subnets: set[str] = set()
    addresses: set[IPAddress] = set()
    for place in sorted(places, key=lambda each: (each[0], sort_key(each[1]))):
        subnet, address = place
        if address.version != version or len(subnets | {subnet}) + len(addresses | {address}) > MAX_IDS:
            continue
        chosen[place] = None
        subnets.add(subnet)
        addresses.add(address)
    if not chosen:
        return None
    requests = frozenset(key for place in chosen for key in places[place])
    return LookUpHolders(frozenset(chosen), version, requests)


def _changes(draft: _Draft) -> list[AddressChange]:
    """Return the changes in their order: each node's first one before any node's second one."""
    ordered = sorted(draft.changes, key=lambda each: (each[2].rank, each[0], each[1], each[2].node))
    return [change for _, _, change in ordered]
