"""Releases addresses that have left their pods, if the pod asked for that and no living pod has them.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from common.token_bucket import Rate
from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.release import MisplacedAddresses, Pair, ReleaseOutcome, ReleaseQueue
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.claim import ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.model.pool_addresses import PoolAddresses
from ipagent.node.reconcile.claim_status import release_status
from ipagent.node.reconcile.state import NodeState, PodClaims

RELEASES = Rate(10, 1 / 3)
"""Releases of one ENI and family, two calls each: many pods that leave in turn cost no more than one."""


@dataclass
class _Release:
    releasing: set[Pair] = field(default_factory=set)
    outcomes: list[ReleaseOutcome] = field(default_factory=list)


class PendingReleases:
    """Which pods want a release, and the outcome for each address; `add_event` gets the events."""

    def __init__(self, add_event: Callable[[AddressEvent], None]) -> None:
        self._add_event = add_event
        self._asked: dict[PodKey, bool] = {}
        self._by_pod: dict[PodKey, _Release] = {}

    def observe_claims(self, claims: Mapping[PodKey, PodClaims]) -> None:
        """Record which pods want a release; the wish of a pod that is gone counts once more."""
        self._asked |= {key: each.claim.release_on_exit for key, each in claims.items()}

    def add(self, gone: Mapping[Pair, PodKey], named: Collection[IPAddress]) -> None:
        """Enqueue what was ours and is not wanted any more; `named` is what living pods name."""
        for pair, key in gone.items():
            if self._asked.get(key) and pair[1] not in named:
                self._by_pod.setdefault(key, _Release()).releasing.add(pair)

    @property
    def wanted(self) -> set[Pair]:
        """What is to be released."""
        return {pair for each in self._by_pod.values() for pair in each.releasing}

    def prune(
        self, pending: Collection[Pair], claims: Mapping[PodKey, PodClaims], waiting: Collection[PodKey] = ()
    ) -> None:
        """Forget what is not to be released any more, and the pods that need no status any more.

        `waiting` are pods of which it is not decided yet what is released: their wishes stay.
        """
        for each in self._by_pod.values():
            each.releasing &= set(pending)
        leaving = {key for key, each in claims.items() if each.claim.leaving}
        self._by_pod = {k: each for k, each in self._by_pod.items() if each.releasing or k in leaving}
        self._asked = {key: each for key, each in self._asked.items() if key in claims or key in waiting}

    def record_outcome(self, outcome: ReleaseOutcome) -> None:
        """Record what became of an address."""
        pair = outcome.eni_id, outcome.address
        for key, each in self._by_pod.items():
            if pair in each.releasing:
                each.releasing.discard(pair)
                each.outcomes.append(outcome)
                kind = EventType.NOT_RELEASED if outcome.failure else EventType.RELEASED
                self._add_event(AddressEvent(kind, key, outcome.address, outcome.eni_id, outcome.text))

    def status(self, key: PodKey) -> ClaimStatus:
        """Return the status of a pod that releases everything."""
        each = self._by_pod.get(key, _Release())
        return release_status(sorted((address for _, address in each.releasing), key=sort_key), each.outcomes)


class LeftoverAddresses:
    """Addresses on ENIs where they are not wanted any more: their pods are gone, or have them on another ENI.

    `pool` returns the secondary addresses that stay on their ENIs when pods go; None as long as that is not
    known.
    """

    def __init__(
        self,
        state: NodeState,
        pending: PendingReleases,
        queue: ReleaseQueue,
        pool: Callable[[], PoolAddresses | None],
    ) -> None:
        self._state = state
        self._pending = pending
        self._queue = queue
        self._pool = pool
        self._misplaced: MisplacedAddresses[PodKey] = MisplacedAddresses()
        self._claimed_still: dict[Pair, PodKey] = {}
        self._undecided: dict[Pair, PodKey] = {}

    @property
    def waiting(self) -> bool:
        """Whether something waits until it is known what stays on the ENIs."""
        return bool(self._undecided)

    @property
    def decidable(self) -> bool:
        """Whether something has waited for that, and it is known now."""
        return bool(self._undecided) and self._pool() is not None

    def release(self, left: Mapping[Pair, PodKey], owners: Mapping[Pair, PodKey]) -> None:
        """Release what may be of `left`, which we have assigned; `owners` says what is wanted by whom."""
        decided = self._not_of_pool(left)
        self._release_gone(decided | self._claimed_still, owners)
        # An ENI that was attached a moment ago may be shown late; its subnet's other ENI is taken until then.
        self._queue.enqueue(self._misplaced.update(decided, owners, self._holds), owners)

    def _not_of_pool(self, left: Mapping[Pair, PodKey]) -> dict[Pair, PodKey]:
        """Return what may be released: no address that the ENI has for its network's pods, whoever had it.

        As long as these are not known, what was left is kept for the next turn that knows them.
        """
        pool, left = self._pool(), {**self._undecided, **left}
        self._undecided = left if pool is None else {}
        return {} if pool is None else {pair: key for pair, key in left.items() if pair not in pool.pairs}

    def _release_gone(self, gone: Mapping[Pair, PodKey], owners: Mapping[Pair, PodKey]) -> None:
        """Release what a pod had that asked for it, and that no living pod names any more."""
        pending, claims = self._pending, self._state.claims
        pending.observe_claims(claims)
        # What the pod itself still claims, without the right to it, is released when it does not any more.
        self._claimed_still = {
            pair: key
            for pair, key in gone.items()
            if self._holds(key, pair[1]) and pair[1] not in self._state.desired.owners
        }
        pending.add(gone, self._state.named() if gone else ())
        self._queue.enqueue(pending.wanted, owners)
        pending.prune(self._queue.pending, claims, self._undecided.values())

    def _holds(self, key: PodKey, address: IPAddress) -> bool:
        pod = self._state.by_pod.get(key)
        return pod is not None and address in pod.named
