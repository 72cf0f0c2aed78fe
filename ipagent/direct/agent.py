"""What init and sidecar share: the pod's addresses, their ENIs, and the reconciler that assigns them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from common.agent_settings import AgentSettings, Takeover
from common.frozen_dataclass import replace
from common.lean_typing import Protocol
from common.pod_keys import TIMEOUT
from common.token_bucket import Rate, TokenBucket
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import Holding, IPAddress, IPNetwork, Snapshot, parse_networks
from ipagent.assign.errors import AgentError, BadUsage, Deadline, NoInterface
from ipagent.assign.placement import Placed, Unplaced, keep_placed
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.release import MisplacedAddresses, Pair, ReleaseQueue
from ipagent.assign.report import Ec2View, Problem, Report, problems, report, undetected
from ipagent.assign.retry import NOW, Backoff, Timing, remaining
from ipagent.assign.selection import DETECTION_SECONDS, Selection, UndecidedDefaultError, select
from ipagent.direct.eni_lookup import EniLookup, PodCloud
from ipagent.log import Log
from ipagent.termination import unplugged

PENDING_PACE = Backoff(0.5, 10.0)
"""Between looks for an ENI that IMDS or EC2 may show later: it takes seconds as a rule."""
LIVING_PENDING_PACE = Backoff(PENDING_PACE.base, 300.0)
"""Likewise in a pod that runs: it may wait for hours, and each look costs calls that all nodes share."""
CHANGE_LOOKUPS = Rate(burst=5, refill=1 / 60)
"""Looks for ENIs at once because of changes in the pod; each makes those of PENDING_PACE start anew."""
BY_SUBNET_PACE = Backoff(30.0, 900.0)
"""Between looks whether an ENI has a MAC after all that none had when the subnet decided."""


class Source(Protocol):
    """Where a pod's addresses are read."""

    def snapshot(self, *, routes: bool) -> Snapshot:
        """Read what the pod holds now; routes only where they are asked for. Raises AgentError."""


class Agent:
    """One pod's addresses, from the source to EC2.

    `restarted`: an agent of this pod has completed its first assignment before.
    """

    def __init__(  # noqa: PLR0913 - its seams
        self,
        settings: AgentSettings,
        source: Source,
        cloud: PodCloud,
        log: Log,
        timing: Timing,
        *,
        restarted: bool = False,
    ) -> None:
        self.settings = settings
        self.log = log
        self.cloud = cloud
        self.timing = timing
        self.selection = Selection()
        self.lookup_failure: AgentError | None = None
        self.reconciler = Reconciler(cloud, timing=timing, log=log)
        self._source = source
        self._lookup = EniLookup(cloud, takeover=settings.takeover is Takeover.ALWAYS)
        self._restarted = restarted
        self._placed = Placed()
        self._allowed = _allowed(settings)
        self._warned: set[str] = set()
        self._tentative: dict[Holding, float] = {}
        self._recheck = NOW
        self._change_lookups = TokenBucket(CHANGE_LOOKUPS)
        self._misplaced: MisplacedAddresses[str] = MisplacedAddresses()
        self._moved: frozenset[Pair] = frozenset()

    def read_addresses(self) -> Selection:
        """Read which addresses the pod holds and which of them count; raises AgentError."""
        settings = self.settings
        expected = settings.guessed_interfaces
        snapshot = self._source.snapshot(routes=bool(expected) or not settings.interfaces)
        try:
            self.selection = select(snapshot, settings.interfaces, self._allowed, expected)
        except UndecidedDefaultError:
            raise BadUsage(
                "It is not known which of the pod's interfaces is the cluster's default one",
                "Name the Multus interfaces in the annotation multus-eni.io/interfaces.",
            ) from None
        now, known = self.timing.clock(), self._tentative
        self._tentative = {holding: known.get(holding, now) for holding in self.selection.tentative}
        return self.selection

    def held(self) -> tuple[Holding, ...]:
        """Return what the pod holds, whether it counts or is refused."""
        return (*self.selection.holdings, *(refusal.holding for refusal in self.selection.refused))

    def detection_seconds(self) -> float | None:
        """Return the seconds until the first tentative address counts; None if there is none."""
        return min(self._detection_waits().values(), default=None)

    def _detection_waits(self) -> dict[Holding, float]:
        """Return the tentative addresses that are new, with the seconds for which they do not count yet."""
        now = self.timing.clock()
        known = {item.placement.holding for item in self.reconciler.plan.items}
        waiting = {h: remaining(since + DETECTION_SECONDS, now) for h, since in self._tentative.items()}
        return {holding: seconds for holding, seconds in waiting.items() if seconds and holding not in known}

    def require_interfaces(self) -> None:
        """Raise NoInterface if the pod lacks an interface that it was promised.

        One that was there when an agent of this pod started before has been unplugged since: a warning.
        """
        missing = ", ".join(self.selection.missing)
        if missing and not self._restarted:
            raise NoInterface(f"The pod has no interface {missing}")
        if missing:
            self.log.warning("interface-missing", message=unplugged(missing))

    def place(self, again: Collection[IPAddress] = ()) -> None:
        """Find the ENIs of the addresses that count and want them there; raises AgentError.

        `again` are addresses to be assigned anew, though they were before. Tentative ones wait.
        """
        self._recheck = NOW
        self._place(again)
        self._schedule_recheck()

    def place_changed(self, again: Collection[IPAddress] = ()) -> None:
        """Likewise after the pod's addresses have changed; raises AgentError.

        What needs no look for its ENI waits for none. Looks are paced by CHANGE_LOOKUPS: while an ENI is
        waited for, an interface that goes up and down would cause one each time. Without one `recheck` looks.
        """
        known = self._lookup.without_asking(self._counting(), self._placed)
        looked = {each.holding for each in self.pending}
        new = any(each.holding not in looked for each in known.unplaced)
        if not new or not self._change_lookups.take(self.timing.clock()):
            self._want(known, again)
            return
        try:
            self.place(again)
        except AgentError:
            self._want(known, again)
            raise

    @property
    def placed(self) -> bool:
        """Whether the ENIs of the pod's addresses have been looked for."""
        return bool(self._placed.placements or self._placed.unplaced)

    @property
    def all_assigned(self) -> bool:
        """Whether everything that has an ENI is assigned to it."""
        return all(item.phase is Phase.CONFIRMED for item in self.reconciler.plan.items)

    @property
    def pending(self) -> tuple[Unplaced, ...]:
        """The addresses that wait for what IMDS or EC2 may show later."""
        return tuple(each for each in self._placed.unplaced if each.pending)

    def recheck(self, *, living: bool = False) -> float | None:
        """Look again for ENIs that may have appeared, if it is time to; returns the seconds until it is.

        None where nothing can change. In the follower of a sidecar (`living`) also where the subnet decided.
        """
        if not self._may_change(living):
            return None
        if self._recheck.at <= self.timing.clock():
            try:
                self._place(fresh=True, keep=living)
            except AgentError as error:
                self.lookup_failure = error
                self.log.debug("lookup-failed", message=str(error))
            self._schedule_recheck(living=living)
            if not self._may_change(living):
                return None
        return remaining(self._recheck.at, self.timing.clock())

    def _may_change(self, living: bool) -> bool:
        by_subnet = any(placement.warning for placement in self._placed.placements)
        return bool(self.pending) or (living and by_subnet)

    def _schedule_recheck(self, *, living: bool = False) -> None:
        pending_pace = LIVING_PENDING_PACE if living else PENDING_PACE
        delays = pending_pace if self.pending else BY_SUBNET_PACE
        self._recheck = self._recheck.later(self.timing.clock(), delays, self.timing.random())

    def _place(self, again: Collection[IPAddress] = (), *, fresh: bool = False, keep: bool = True) -> None:
        """Find the ENIs. `keep`: an address whose ENI nobody can tell just now keeps the one that it has.

        Without it, it would be assigned anew afterwards, and taken back from an ENI that has it by then. An
        init container must not count it as assigned.
        """
        lived = bool(self.reconciler.plan.items)
        found = self._lookup.find(self._counting(), fresh=fresh, lived=lived)
        self._want(keep_placed(found, self._placed) if keep else found, again)

    def _counting(self) -> tuple[Holding, ...]:
        held_back = self._detection_waits()
        return tuple(holding for holding in self.selection.holdings if holding not in held_back)

    def _want(self, placed: Placed, again: Collection[IPAddress]) -> None:
        self._placed = placed
        for placement in self._placed.placements:
            self._warn_once(placement.warning, str(placement.holding.address), placement.eni.id)
        before = self.reconciler.plan.items
        self.reconciler.set_desired(self._placed.placements, again)
        self._note_moved(before)

    def _note_moved(self, before: Iterable[PlannedAddress]) -> None:
        """Note what was assigned to an ENI that has turned out not to be the one that carries it."""
        wanted = {(item.eni_id, item.address): "" for item in self.reconciler.plan.items}
        held = {holding.address for holding in self.held()}
        left = dict.fromkeys(self.reconciler.assigned(before) - wanted.keys(), "")
        moved = self._misplaced.update(left, wanted, lambda _, address: address in held)
        now = {address: eni_id for eni_id, address in wanted}
        for eni_id, address in sorted(moved, key=str):
            text = f"{address} was assigned to {eni_id}, and {now[address]} carries it: moving it"
            self.log.warning("moved", message=text, address=str(address), eni=now[address])
        self._moved |= moved

    @property
    def misplaced(self) -> frozenset[Pair]:
        """What was assigned to ENIs that do not carry it, and has not been handed to a queue of releases."""
        return self._misplaced.pairs | self._moved

    def enqueue_moved(self, releases: ReleaseQueue) -> None:
        """Hand what is to be released, because another ENI carries it, to the queue."""
        releases.enqueue(self._moved, {(item.eni_id, item.address) for item in self.reconciler.plan.items})
        self._moved = frozenset()

    def problems(self, *, refused: bool = False) -> tuple[Problem, ...]:
        """List the addresses that are not assigned; with `refused` only those for which nothing is tried."""
        plan = self.reconciler.plan
        found = problems(
            replace(plan, items=plan.in_phases({Phase.REFUSED})) if refused else plan,
            self.selection.refused,
            self._placed.unplaced,
            Ec2View(self.reconciler.described, self.reconciler.asked),
            self.settings.timeout,
        )
        if refused:
            return found
        return (*found, *map(undetected, self._detection_waits()), *self._not_looked_for())

    def _not_looked_for(self) -> Iterator[Problem]:
        """Yield a problem for each address whose ENI has never been found: the run has ended before."""
        if self.placed:
            return
        text, reason = "its ENI has not been found yet", self.lookup_failure
        error = deadline_after(reason, text) if reason else Deadline(text)
        waits = self._detection_waits()
        for holding in self.selection.holdings:
            if holding not in waits:
                yield Problem(holding, "", str(error), error)

    def report(self) -> Report:
        """Return the state of all addresses now."""
        return report(self.reconciler.plan, self.problems(), self.selection.bare)

    def failed(self, error: AgentError) -> Report:
        """Return the report of a run that this error ended, with the addresses that it left unassigned."""
        waiting = ", ".join(f"{h.address} ({h.interface})" for h in self.selection.holdings)
        who = f"Not assigned: {waiting}: " if waiting else ""
        return Report(error.exit_code, f"{who}{error}. {error.remedy}")

    def _warn_once(self, warning: str, address: str, eni: str) -> None:
        if warning and warning not in self._warned:
            self._warned.add(warning)
            self.log.warning("eni-by-subnet", message=warning, address=address, eni=eni)


def _allowed(settings: AgentSettings) -> tuple[IPNetwork, ...]:
    try:
        return parse_networks(settings.allowed_cidrs)
    except ValueError as error:
        raise BadUsage(f"MULTUS_ENI_ALLOWED_CIDRS can't be read: {error}") from None


def deadline_after(reason: AgentError, what: str) -> Deadline:
    """Return that time ran out while `reason` was in the way: its remedy comes before that of more time."""
    more = "" if TIMEOUT in reason.remedy else f" {Deadline.remedy}"
    return Deadline(f"{what}: {reason}", f"{reason.remedy}{more}")
