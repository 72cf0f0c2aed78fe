"""Takes back what is left behind: when it looks, what it asks, and what it makes of the verdicts.

Nothing is asked of anybody while nothing can be left behind. A sweep lists the pods, then asks EC2, then
decides; after it has taken something back it lists the pods once more: an address that a new pod was given in
between is put back, since an agent in init mode would never notice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from ipagent.assign import executor
from ipagent.assign.calls import Unassign, releases
from ipagent.assign.errors import AgentError
from ipagent.assign.faults import Backoff, Clock, Fault, remaining
from ipagent.assign.reconciler import NOW, Attempt, Cloud
from ipagent.assign.release import Pair
from ipagent.assign.topology import Attached, Topology
from ipagent.log import Log
from ipagent.node.gc.records import OwnershipRecords
from ipagent.node.gc.restore import ListingFailed, PodLister, Restorer
from ipagent.node.gc.rules import Candidate, Decision, GcInput, GcResult, Verdict, evaluate, suspected_leaks
from ipagent.node.model.events import AddressEvent, EventType
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import PodKey

SOON_SECONDS = 10.0
"""Between a pod's end and the first look at what it left: a mean, so that nodes don't march in step."""
ROOM_PACE = Backoff(10.0, 300.0)
"""Between sweeps for the sake of a full ENI that made no room."""
FAILED_PACE = Backoff(10.0, 300.0)
IDLE_FACTOR = 8
"""Where all that may be left behind has to stay, a sweep is made at so many intervals at most."""

_GONE = frozenset({Fault.NOT_HELD, Fault.NO_ENI})


class NodeCloud(Cloud, Protocol):
    """A Cloud that can look at all ENIs of the node at once."""

    def observed(self) -> tuple[Attached, ...]:
        """Ask EC2 now what each ENI of the node holds; raises AgentError."""


class CheckpointStore(Protocol):
    """Where the records outlive the process."""

    def load(self) -> OwnershipRecords:
        """Read the records."""

    def put(self, records: OwnershipRecords) -> None:
        """Let these be kept from now on."""

    def step(self) -> float | None:
        """Write what is due; returns the seconds until more is due, None if nothing is left to do."""


class Collector:
    """Keeps the records, and takes back by the rules. `wall` gives seconds since the epoch."""

    def __init__(  # noqa: PLR0913 - one keyword a collaborator
        self,
        rules: GcPolicy,
        cloud: NodeCloud,
        listing: PodLister,
        shelf: CheckpointStore,
        *,
        timing: Clock,
        wall: Callable[[], float],
        log: Log,
    ) -> None:
        self.records = shelf.load()
        """The last owner of each address."""
        self.last = GcResult()
        """The outcome of the last sweep."""
        self._rules = rules
        self._cloud = cloud
        self._listing = listing
        self._shelf = shelf
        self._timing = timing
        self._wall = wall
        self._log = log
        self._belongings = Ownership()
        self._candidates: Mapping[Pair, Candidate] = {}
        self._noticed: frozenset[Pair] = frozenset()
        self._swept_at = float("-inf")
        self._due: float | None = None
        self._idle = 0
        self._failures = NOW
        self._full: set[str] = set()
        self._room: dict[str, Attempt] = {}
        self._freed: set[str] = set()
        self._hopeful: frozenset[str] = frozenset()
        self._second_look = Restorer(cloud, listing, timing, log)
        self._reported: dict[Pair, PodKey] = {}
        self._happenings: list[AddressEvent] = []

    @property
    def candidates(self) -> int:
        """How many addresses were left behind at the last sweep."""
        return len(self._candidates)

    def observe(self, belongings: Ownership) -> None:
        """Take in whose the addresses are now; comes before the first call for a new one."""
        self._belongings = belongings
        self._record(self.records.noted(belongings.owners, belongings.floating, self._wall()))

    def make_room(self, eni_id: str) -> None:
        """Collect on the ENI as soon as the rules allow: it is full."""
        if self._rules.mode is GcMode.ON and any(pair[0] == eni_id for pair in self._suspects()):
            self._full.add(eni_id)

    def making_room(self, eni_id: str) -> bool:
        """Whether that sweep is still to come, or the cooldown runs for something on the ENI."""
        due = eni_id in self._full and self._room_at(eni_id) <= self._timing.clock()
        return due or eni_id in self._hopeful

    def freed(self) -> frozenset[str]:
        """Give the ENIs on which there is room again, since the last time."""
        freed, self._freed = frozenset(self._freed), set()
        return freed

    def happenings(self) -> list[AddressEvent]:
        """Give what was taken back, or would have been, since the last time."""
        told, self._happenings = self._happenings, []
        return told

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""
        # The second look comes last: it follows a sweep at once.
        delays = [self._sweep_if_due(), self._shelf.step(), self._second_look.step()]
        return min((delay for delay in delays if delay is not None), default=None)

    def _record(self, records: OwnershipRecords) -> None:
        if records is not self.records:
            self.records = records
            self._shelf.put(records)

    def _suspects(self) -> frozenset[Pair]:
        return suspected_leaks(self.records, self._belongings, self._rules)

    def _sweep_if_due(self) -> float | None:
        found = self._suspects()
        if self._rules.mode is GcMode.OFF or not found or not self._belongings.complete:
            self._full.clear()
            return None
        self._notice(found)
        at = min([self._due or 0.0, *map(self._room_at, self._full)])
        if at <= self._timing.clock():
            self._sweep()
            self._noticed = self._suspects()
            at = self._due or 0.0
        return remaining(at, self._timing.clock()) if self._noticed else None

    def _notice(self, found: frozenset[Pair]) -> None:
        """Let a sweep be due soon where something new may be left behind."""
        fresh, self._noticed = found - self._noticed, found
        if fresh or self._due is None:
            self._idle = 0
            soon = self._timing.clock() + SOON_SECONDS * (0.5 + self._timing.random())
            soon = max(soon, self._swept_at + self._gap(), self._failures.at)
            self._due = soon if self._due is None else min(self._due, soon)

    def _gap(self) -> float:
        """Give the least time between two sweeps: requests are shared by all nodes."""
        return min(self._rules.interval, self._rules.cooldown / 2)

    def _room_at(self, eni_id: str) -> float:
        return max(self._room.get(eni_id, NOW).at, self._failures.at)

    def _sweep(self) -> None:
        """Look at everything once, and act on it."""
        try:
            pods = self._listing.pods()
            enis = self._cloud.observed()
        except (ListingFailed, AgentError) as error:
            self._failed(error)
            return
        self._failures = NOW
        now = self._swept_at = self._timing.clock()
        sight = GcInput(self.records, pods, enis, self._belongings, now, self._candidates)
        self.last = evaluate(sight, self._rules)
        self._candidates = self.last.candidates
        self._record(self.records.without(self.last.obsolete))
        taken = self._act(self.last.of(Decision.TAKE), Topology(tuple(each.eni for each in enis)))
        self._plan_next(taken)

    def _failed(self, error: Exception) -> None:
        """Put off the sweep; what was left behind at the last one still counts as such."""
        now = self._timing.clock()
        level = self._log.debug if self._failures.tries else self._log.warning
        level("sweep-failed", message=f"Nothing is taken back for the time being: {error}")
        self._failures = self._failures.later(now, FAILED_PACE, self._timing.random())
        self._due = self._failures.at

    def _plan_next(self, taken: Collection[Pair]) -> None:
        """Say when the next sweep is due, in general and for full ENIs."""
        now, random = self._timing.clock(), self._timing.random()
        waits = {each.pair: each.until for each in self.last.of(Decision.WAIT) if each.until is not None}
        self._hopeful = frozenset(eni_id for eni_id, _ in waits)
        self._idle = 0 if waits or taken else self._idle + 1
        intervals = min(2 ** max(self._idle - 1, 0), IDLE_FACTOR) * (0.75 + random / 2)
        due = now + self._rules.interval * intervals
        if waits:
            due = min(due, max(min(waits.values()), now + self._gap()))
        self._due = due
        freed = {eni_id for eni_id, _ in taken}
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

    def _act(self, left_behind: Collection[Verdict], topology: Topology) -> frozenset[Pair]:
        """Take back what is left behind, or say what would be; gives what is off its ENI."""
        if self._rules.mode is not GcMode.ON:
            self._report(left_behind)
            return frozenset()
        verdicts = {each.pair: each for each in left_behind}
        taken: set[Pair] = set()
        for call in releases(verdicts):
            taken |= self._take(call, verdicts)
        self._record(self.records.without(taken))
        self._candidates = {pair: each for pair, each in self._candidates.items() if pair not in taken}
        self._freed |= {eni_id for eni_id, _ in taken}
        # Also what seems to have failed: the answer may have been lost, and not the effect.
        self._second_look.want(verdicts, topology)
        return frozenset(taken)

    def _take(self, call: Unassign, verdicts: Mapping[Pair, Verdict]) -> set[Pair]:
        taken: set[Pair] = set()
        for outcome in executor.run(call, self._cloud):
            pairs = [(call.eni_id, address) for address in outcome.call.addresses]
            failure = outcome.failure
            if failure is not None and failure.fault not in _GONE:
                listed = ",".join(str(address) for _, address in pairs)
                self._log.warning("not-taken-back", message=failure.text, address=listed, eni=call.eni_id)
                continue
            taken.update(pairs)
            if failure is None:
                self._tell(EventType.TAKEN_BACK, [verdicts[pair] for pair in pairs])
        return taken

    def _tell(self, kind: EventType, verdicts: Collection[Verdict]) -> None:
        what = "was taken off" if kind is EventType.TAKEN_BACK else "would be taken off"
        for each in verdicts:
            text = f"{each.address} {what} {each.eni_id}: {each.text}"
            self._happenings.append(AddressEvent(kind, each.pod, each.address, each.eni_id, text))

    def _report(self, left_behind: Collection[Verdict]) -> None:
        """Say once of each address that it would be taken back."""
        fresh = [each for each in left_behind if self._reported.get(each.pair) != each.pod]
        self._tell(EventType.WOULD_TAKE_BACK, fresh)
        self._reported = {each.pair: each.pod for each in left_behind if each.pod}
