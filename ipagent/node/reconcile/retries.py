"""Retries that pods cause: by an address that was added again, or by a new session after a failure.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from common.agent_settings import Mode
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress
from ipagent.node.model.claim import Claim
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.state import NEVER, NodeState

RETRY_COOLDOWN = 5.0
"""Seconds between retries that a pod causes by a new session, however often it reconnects."""


class ClaimRetries:
    """New claims, until what they retry has been handed to the reconciler, within each pod's budget."""

    def __init__(self, state: NodeState, clock: Callable[[], float]) -> None:
        self.due_at = NEVER
        """When there is something to hand over; NEVER if there is not."""
        self._state = state
        self._clock = clock
        # New claims, with the addresses that were added anew.
        self._claims: dict[PodKey, frozenset[IPAddress]] = {}
        self._cooling: dict[PodKey, float] = {}

    def add(self, claim: Claim) -> None:
        """Record a new claim."""
        self._claims[claim.pod] = self._claims.get(claim.pod, frozenset()) | claim.again
        self.due_at = 0.0

    def take(
        self, items: Mapping[PodKey, Sequence[PlannedAddress]], is_pending: Callable[[PlannedAddress], bool]
    ) -> frozenset[IPAddress]:
        """Return the addresses to retry now; what is beyond a pod's budget waits.

        `items` are the pods' addresses as they were reported last, `is_pending` tells which are on their way.
        """
        now = self._clock()
        self._cooling = {key: at for key, at in self._cooling.items() if key in self._state.by_pod}
        retried: set[IPAddress] = set()
        waiting: dict[PodKey, frozenset[IPAddress]] = {}
        self.due_at = NEVER
        for key, again in self._claims.items():
            mine = items.get(key, ())
            failed = self._failed(key, [item for item in mine if not is_pending(item)], now)
            addresses = self._added_anew(key, again, mine) | failed
            if addresses and (wait := self._state.spend(key, now)):
                waiting[key] = again.intersection(item.address for item in mine)
                self.due_at = min(self.due_at, now + wait)
                continue
            retried |= addresses
            if failed:
                self._cooling[key] = now + RETRY_COOLDOWN
        self._claims = waiting
        return frozenset(retried)

    def _added_anew(
        self, key: PodKey, again: Collection[IPAddress], items: Sequence[PlannedAddress]
    ) -> frozenset[IPAddress]:
        # One that is not wanted yet is assigned in any case.
        owners = self._state.desired.owners
        return frozenset(i.address for i in items if i.address in again and owners.get(i.address) == key)

    def _failed(self, key: PodKey, settled: Sequence[PlannedAddress], now: float) -> frozenset[IPAddress]:
        """Return what had failed before the pod's new session.

        A sidecar that merely comes back does not fight for what another ENI took; a pod that starts does.
        """
        claim = self._state.claims.get(key)
        if claim is None or claim.opened != claim.at or now < self._cooling.get(key, now):
            return frozenset()
        kept = {Phase.CONFIRMED} if claim.claim.mode is Mode.INIT else {Phase.CONFIRMED, Phase.TAKEN}
        return frozenset(item.address for item in settled if item.phase not in kept)
