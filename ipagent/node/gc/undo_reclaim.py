"""UndoReclaim: if a pod got an address while that was reclaimed, assigns it again.

An agent in init mode assigns once and never looks again, and IPAM may hand an address out anew just then. So
the pods are listed once more, and what one of them has is assigned again.

Thread: the main loop's, through Collector.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from ipagent.assign.address_calls import Assign, unassign_calls
from ipagent.assign.cloud import Ec2
from ipagent.assign.ec2_error_codes import HEALING
from ipagent.assign.errors import Ec2Error
from ipagent.assign.placement import place
from ipagent.assign.release import Pair
from ipagent.assign.retry import NOW, Attempt, Backoff, Timing, remaining
from ipagent.assign.topology import Topology
from ipagent.log import Log
from ipagent.node.model.pod import Pod

PACE = Backoff(5.0, 300.0)
PENDING_SECONDS = 2.0
"""Until it is asked again whether an assign that was sent is answered: the pods are listed before."""


class ListingFailed(Exception):
    """The node's pods could not be listed completely; the text says why."""


class PodLister(Protocol):
    """A complete list of the node's pods, asked for now."""

    def pods(self) -> tuple[Pod, ...]:
        """List all pods of the node; raises ListingFailed."""


class UndoReclaim:
    """Addresses that were reclaimed and are not yet known to be unused; it never waits."""

    def __init__(self, ec2: Ec2, lister: PodLister, timing: Timing, log: Log) -> None:
        self.pending: frozenset[Pair] = frozenset()
        self._ec2 = ec2
        self._lister = lister
        self._timing = timing
        self._log = log
        self._topology = Topology(())
        self._due = NOW

    def check(self, pairs: Collection[Pair], topology: Topology) -> None:
        """Enqueue addresses to check; `topology` is that of the sweep."""
        self.pending |= frozenset(pairs)
        self._topology = topology
        self._due = NOW

    def step(self) -> float | None:
        """Check if it is due; returns the seconds until it is again, None if nothing is left to do."""
        if self.pending and self._due.at <= self._timing.clock():
            awaiting = False
            try:
                self.pending, awaiting = self._restore(self._lister.pods())
            except ListingFailed as error:
                self._log.warning("restore-failed", message=str(error))
            now = self._timing.clock()
            if awaiting:
                self._due = Attempt(now + PENDING_SECONDS, self._due.tries)
            else:
                self._due = self._due.later(now, PACE, self._timing.random())
        return remaining(self._due.at, self._timing.clock()) if self.pending else None

    def _restore(self, pods: Collection[Pod]) -> tuple[frozenset[Pair], bool]:
        """Assign what living pods have; returns what is to be tried again, and whether an answer is out."""
        addresses = {address for _, address in self.pending}
        held = [each for pod in pods if pod.alive for each in pod.holdings if each.address in addresses]
        placed = place(held, self._topology).placements
        again: set[Pair] = set()
        awaiting = False
        for call in unassign_calls({(each.eni.id, each.holding.address) for each in placed} & self.pending):
            listed = ",".join(map(str, call.addresses))
            try:
                self._ec2.assign(Assign(call.eni_id, call.addresses, allow_reassignment=False))
            except Ec2Error as error:
                failure = error.failure
                if failure.pending:
                    awaiting = True
                    again.update((call.eni_id, address) for address in call.addresses)
                    continue
                text = f"A pod got it while it was reclaimed, and it is not assigned: {failure.text}"
                self._log.error("not-restored", message=text, address=listed, eni=call.eni_id)
                if failure.fault in HEALING:
                    again.update((call.eni_id, address) for address in call.addresses)
                continue
            text = "A pod got it while it was reclaimed: it is assigned again"
            self._log.warning("restored", message=text, address=listed, eni=call.eni_id)
        return frozenset(again), awaiting
