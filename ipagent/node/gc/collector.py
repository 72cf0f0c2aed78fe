"""Garbage collector: decides when to sweep, and reclaims or reports what the rules find leaked.

It asks nobody while nothing can be leaked. A sweep lists the pods, then asks EC2, then decides; after it has
reclaimed something it lists the pods once more: an address that a new pod was given in between is restored,
since an agent in init mode would never notice.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from common.lean_typing import Protocol
from ipagent.assign import executor
from ipagent.assign.address_calls import Unassign, unassign_calls
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import AgentError
from ipagent.assign.release import Pair
from ipagent.assign.retry import NOW, Attempt, Backoff, Timing, remaining
from ipagent.assign.topology import Observed, Topology, Unread
from ipagent.log import Log
from ipagent.node.gc.records import OwnershipRecords
from ipagent.node.gc.rules import evaluate, suspected_leaks
from ipagent.node.gc.undo_reclaim import ListingFailed, PodLister, UndoReclaim
from ipagent.node.gc.verdict import Candidate, Decision, GcInput, GcResult, Verdict
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import PodKey
from ipagent.node.model.pool_addresses import NO_POOL, PoolAddresses

SOON_SECONDS = 10.0
"""From a pod's end to the first sweep: a mean, so that nodes don't march in step."""
ROOM_PACE = Backoff(10.0, 300.0)
"""Between sweeps for the sake of a full ENI that made no room."""
FAILED_PACE = Backoff(10.0, 300.0)
IDLE_FACTOR = 8
"""Where everything that may be leaked has to stay, sweeps are up to so many intervals apart."""

_GONE = frozenset({Fault.NOT_HELD, Fault.NO_ENI})


class NodeCloud(Cloud, Protocol):
    """A Cloud that can look at all ENIs of the node at once."""

    def observed(self) -> Observed:
        """Ask EC2 now what each ENI of the node holds; raises AgentError where none can be read."""


class CheckpointStore(Protocol):
    """Where the records outlive the process."""

    def load(self) -> OwnershipRecords:
        """Read the records."""

    def put(self, records: OwnershipRecords) -> None:
        """Keep these from now on."""

    def step(self) -> float | None:
        """Write what is due; returns the seconds until more is due, None if nothing is left to do."""


class Collector:
    """Keeps the ownership records, and reclaims by the policy. `wall` returns seconds since the epoch.

    `pool` returns the addresses that stay on their ENIs, None as long as they are not known: nothing is
    reclaimed before.
    """

    def __init__(  # noqa: PLR0913 - one keyword a collaborator
        self,
        policy: GcPolicy,
        cloud: NodeCloud,
        lister: PodLister,
        store: CheckpointStore,
        *,
        timing: Timing,
        wall: Callable[[], float],
        log: Log,
        pool: Callable[[], PoolAddresses | None] = lambda: NO_POOL,
    ) -> None:
        self.records = store.load()
        """The last owner of each address."""
        self.last = GcResult()
        """The outcome of the last sweep."""
        self._policy = policy
        self._cloud = cloud
        self._lister = lister
        self._store = store
        self._timing = timing
        self._wall = wall
        self._log = log
        self._pool = pool
        self._ownership = Ownership()
        self._candidates: Mapping[Pair, Candidate] = {}
        self._known_suspects: frozenset[Pair] = frozenset()
        self._swept_at = float("-inf")
        self._due: float | None = None
        self._idle = 0
        self._failures = NOW
        self._unread: frozenset[str] = frozenset()
        self._after_unread = NOW
        self._full: set[str] = set()
        self._room: dict[str, Attempt] = {}
        self._freed: set[str] = set()
        self._reclaim_pending: frozenset[str] = frozenset()
        self._restorer = UndoReclaim(cloud, lister, timing, log)
        self._reported: dict[Pair, PodKey] = {}
        self._events: list[AddressEvent] = []

    @property
    def candidates(self) -> int:
        """How many addresses were leaked at the last sweep."""
        return len(self._candidates)

    def observe(self, ownership: Ownership) -> None:
        """Record who owns the addresses now; to be called before the first EC2 call for a new one."""
        self._ownership = ownership
        found = self.records.updated(ownership.owners, ownership.floating, self._wall(), ownership.mirrors)
        self._record(found)

    def make_room(self, eni_id: str) -> None:
        """Collect on the ENI as soon as the rules allow: it is full."""
        if self._policy.mode is GcMode.ON and any(pair[0] == eni_id for pair in self._suspects()):
            self._full.add(eni_id)

    def is_reclaiming(self, eni_id: str) -> bool:
        """Whether that sweep is still to come, or the cooldown runs for something on the ENI."""
        due = eni_id in self._full and self._room_at(eni_id) <= self._timing.clock()
        return due or eni_id in self._reclaim_pending

    def take_freed(self) -> frozenset[str]:
        """Return the ENIs on which slots were freed since the last call."""
        freed, self._freed = frozenset(self._freed), set()
        return freed

    def take_events(self) -> list[AddressEvent]:
        """Return what was reclaimed, or would have been, since the last call."""
        events, self._events = self._events, []
        return events

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""
        # The restorer comes last: it follows a sweep at once.
        delays = [self._sweep_if_due(), self._store.step(), self._restorer.step()]
        return min((delay for delay in delays if delay is not None), default=None)

    def _record(self, records: OwnershipRecords) -> None:
        if records is not self.records:
            self.records = records
            self._store.put(records)

    def _suspects(self) -> frozenset[Pair]:
        pool = self._pool() or NO_POOL
        return suspected_leaks(self.records, self._ownership, self._policy) - pool.pairs

    def _sweep_if_due(self) -> float | None:
        found = self._suspects()
        if self._policy.mode is GcMode.OFF or not found or not self._ownership.complete:
            self._full.clear()
            return None
        self._schedule_sweep(found)
        at = min([self._due or 0.0, *map(self._room_at, self._full)])
        if at <= self._timing.clock():
            self._sweep()
            self._known_suspects = self._suspects()
            at = self._due or 0.0
        return remaining(at, self._timing.clock()) if self._known_suspects else None

    def _schedule_sweep(self, found: frozenset[Pair]) -> None:
        """Schedule a sweep soon where something new may be leaked."""
        fresh, self._known_suspects = found - self._known_suspects, found
        if fresh or self._due is None:
            self._idle = 0
            soon = self._timing.clock() + SOON_SECONDS * (0.5 + self._timing.random())
            soon = max(soon, self._swept_at + self._gap(), self._failures.at)
            self._due = soon if self._due is None else min(self._due, soon)

    def _gap(self) -> float:
        """Return the least seconds between two sweeps: EC2's request limits are shared by all nodes."""
        return min(self._policy.interval, self._policy.cooldown / 2)

    def _room_at(self, eni_id: str) -> float:
        return max(self._room.get(eni_id, NOW).at, self._failures.at)

    def _sweep(self) -> None:
        """List the pods, read the ENIs, decide, and act on it."""
        try:
            pods = self._lister.pods()
            observed = self._cloud.observed()
            pool = self._known_pool()
        except (ListingFailed, AgentError) as error:
            self._failed(error)
            return
        self._failures = NOW
        now = self._swept_at = self._timing.clock()
        self._record_unread(observed.unread, now)
        seen, unread = observed.attached, observed.unread
        gc_input = GcInput(self.records, pods, seen, self._ownership, now, self._candidates, unread, pool)
        self.last = evaluate(gc_input, self._policy)
        self._candidates = self.last.candidates
        self._record(self.records.without(self.last.obsolete))
        reclaimed = self._act(self.last.of(Decision.RECLAIM), observed.topology)
        self._plan_next(reclaimed)

    def _known_pool(self) -> frozenset[Pair]:
        pool = self._pool()
        if pool is None:
            raise ListingFailed("the node's NodeAttachments are not known yet")
        return pool.pairs

    def _failed(self, error: Exception) -> None:
        """Put off the sweep; the candidates of the last one stay."""
        now = self._timing.clock()
        level = self._log.debug if self._failures.tries else self._log.warning
        level("sweep-failed", message=f"Nothing is reclaimed for the time being: {error}")
        self._failures = self._failures.later(now, FAILED_PACE, self._timing.random())
        self._due = self._failures.at

    def _record_unread(self, unread: Collection[Unread], now: float) -> None:
        """Say once on which ENIs nothing is reclaimed, and have them swept again sooner than the others."""
        known, self._unread = self._unread, frozenset(each.eni.id for each in unread)
        self._after_unread = (
            self._after_unread.later(now, FAILED_PACE, self._timing.random()) if unread else NOW
        )
        for each in unread:
            if each.eni.id not in known:
                text = f"Nothing is reclaimed on {each.eni.id} for the time being: {each.error}"
                self._log.warning("sweep-failed", message=text, eni=each.eni.id)

    def _plan_next(self, reclaimed: Collection[Pair]) -> None:
        """Schedule the next sweep, in general and for full ENIs."""
        now, random = self._timing.clock(), self._timing.random()
        waits = {each.pair: each.until for each in self.last.of(Decision.WAIT) if each.until is not None}
        self._reclaim_pending = frozenset(eni_id for eni_id, _ in waits)
        self._idle = 0 if waits or reclaimed else self._idle + 1
        intervals = min(2 ** max(self._idle - 1, 0), IDLE_FACTOR) * (0.75 + random / 2)
        due = now + self._policy.interval * intervals
        if waits:
            due = min(due, max(min(waits.values()), now + self._gap()))
        if any(eni_id in self._unread for eni_id, _ in self._suspects()):
            due = min(due, max(self._after_unread.at, now + self._gap()))
        self._due = due
        freed = {eni_id for eni_id, _ in reclaimed}
        for eni_id in self._full:
            until = [at for pair, at in waits.items() if pair[0] == eni_id]
            if eni_id in freed:
                self._room.pop(eni_id, None)
            elif until:
                self._room[eni_id] = Attempt(min(until))
            else:
                self._room[eni_id] = self._room.get(eni_id, NOW).later(now, ROOM_PACE, 1.0)
        self._full.clear()
        present = {eni_id for eni_id, _ in self.records.entries}
        self._room = {eni_id: each for eni_id, each in self._room.items() if eni_id in present}

    def _act(self, leaked: Collection[Verdict], topology: Topology) -> frozenset[Pair]:
        """Reclaim what is leaked, or report it; returns what is off its ENI now."""
        if self._policy.mode is not GcMode.ON:
            self._report(leaked)
            return frozenset()
        verdicts = {each.pair: each for each in leaked}
        reclaimed: set[Pair] = set()
        for call in unassign_calls(verdicts):
            reclaimed |= self._reclaim(call, verdicts)
        self._record(self.records.without(reclaimed))
        self._candidates = {pair: each for pair, each in self._candidates.items() if pair not in reclaimed}
        self._freed |= {eni_id for eni_id, _ in reclaimed}
        # Also what seems to have failed: the answer may have been lost, and not the effect.
        self._restorer.check(verdicts, topology)
        return frozenset(reclaimed)

    def _reclaim(self, call: Unassign, verdicts: Mapping[Pair, Verdict]) -> set[Pair]:
        reclaimed: set[Pair] = set()
        for outcome in executor.run(call, self._cloud):
            pairs = [(call.eni_id, address) for address in outcome.call.addresses]
            failure = outcome.failure
            if failure is not None and failure.fault not in _GONE:
                listed = ",".join(str(address) for _, address in pairs)
                self._log.warning("not-reclaimed", message=failure.text, address=listed, eni=call.eni_id)
                continue
            reclaimed.update(pairs)
            if failure is None:
                self._add_events(EventType.RECLAIMED, [verdicts[pair] for pair in pairs])
        return reclaimed

    def _add_events(self, kind: EventType, verdicts: Collection[Verdict]) -> None:
        what = "was taken off" if kind is EventType.RECLAIMED else "would be taken off"
        for each in verdicts:
            text = f"{each.address} {what} {each.eni_id}: {each.text}"
            self._events.append(AddressEvent(kind, each.pod, each.address, each.eni_id, text))

    def _report(self, leaked: Collection[Verdict]) -> None:
        """Report each address once that would be reclaimed."""
        fresh = [each for each in leaked if self._reported.get(each.pair) != each.pod]
        self._add_events(EventType.WOULD_RECLAIM, fresh)
        self._reported = {each.pair: each.pod for each in leaked if each.pod}
