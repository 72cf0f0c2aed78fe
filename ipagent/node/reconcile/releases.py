"""Pending releases: addresses of pods that asked for it, as long as no living pod names them.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from common.token_bucket import Rate
from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.release import Pair, ReleaseOutcome
from ipagent.node.model.claim import ClaimStatus
from ipagent.node.model.events import AddressEvent, EventType
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.state import PodClaims
from ipagent.node.reconcile.status import release_status

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
