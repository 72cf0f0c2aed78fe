"""The heart of the node agent: what pods hold and state comes in, calls to EC2 go out, one step at a time.

It has no threads and never waits; what it knows it can learn anew from one list of pods, the sessions that
come back, and EC2. What is routable stays so while the API server or EC2 is away: an address is only let go
when a pod is known to be gone, and only a pod that asked for it has it released.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from common.contract import Mode
from ipagent.assign.drift import Drift
from ipagent.assign.faults import HEALING, Clock, Fault, remaining
from ipagent.assign.plan import NOT_OURS, SETTLED, Item, Phase, Plan
from ipagent.assign.reconciler import Cloud, Reconciler
from ipagent.assign.release import Pair, ReleaseQueue
from ipagent.assign.selection import IPAddress
from ipagent.log import Log
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.events import AddressEvent
from ipagent.node.model.garbage_collector import GarbageCollector
from ipagent.node.model.grants import Grants
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.reconcile.batcher import BatchWindow
from ipagent.node.reconcile.call_observer import CallObserver
from ipagent.node.reconcile.eni_cache import EniCache
from ipagent.node.reconcile.releases import PendingReleases
from ipagent.node.reconcile.reporter import ReportedState, StatusReporter
from ipagent.node.reconcile.state import NEVER, NodeState
from ipagent.node.reconcile.status import UNSEEN, StatusContext, pending

RETRIED = HEALING | {Fault.NO_ENI, Fault.UNKNOWN}
"""A node agent lives for months: it also tries again, if rarely, what it does not understand."""
ANEW_SECONDS = 5.0
"""Between tries that a pod brings about by a new session, however often it reconnects."""


class NodeController:
    """One node's pods, claims and addresses; `keeper` takes back what is left behind."""

    def __init__(
        self, cloud: Cloud, grants: Grants, timing: Clock, log: Log, keeper: GarbageCollector | None = None
    ) -> None:
        self._timing = timing
        self._keeper = keeper
        self._window = BatchWindow()
        self._cloud = CallObserver(cloud, self._window, timing)
        self._roster = NodeState(grants, timing.clock)
        self._lookup = EniCache(self._cloud, timing, log)
        self._reconciler = Reconciler(self._cloud, timing=timing, log=log, window=self._window.due)
        self._reconciler.plan = replace(self._reconciler.plan, retried=RETRIED)
        self._drift = Drift(self._reconciler, self._cloud, timing, log)
        self._teller = StatusReporter(timing.clock)
        self._returns = PendingReleases(self._teller.happened)
        self._releases = ReleaseQueue(self._cloud, timing, log, self._returns.ended)
        self._current = True
        self._beginning = False
        self._version = 0
        self._told: object = None
        self._shown: object = None
        self._items: dict[PodKey, list[Item]] = {}
        # Pairs that are wanted: whose they are, and since when.
        self._owners: dict[Pair, PodKey] = {}
        self._since: dict[Pair, float] = {}
        # Claims that are to be acted upon, with the addresses that were added anew.
        self._heard: dict[PodKey, frozenset[IPAddress]] = {}
        self._anew: dict[PodKey, float] = {}

    @property
    def plan(self) -> Plan:
        """What is wanted, and how far it is."""
        return self._reconciler.plan

    @property
    def conflicts(self) -> int:
        """How many addresses of the node's pods somebody else has, here or elsewhere."""
        here = sum(map(len, self._roster.desired.conflicts.values()))
        return here + sum(item.conflict for item in self.plan.items)

    @property
    def owners(self) -> Mapping[Pair, PodKey]:
        """Whose the wanted addresses are, by ENI id and address."""
        return self._owners

    def pods(self, pods: Iterable[Pod]) -> None:
        """Take in a complete list of the node's pods, which replaces all that was known of them."""
        listed = tuple(pods)
        if not self._roster.complete:
            self._beginning = any(pod.holdings for pod in listed)
        self._roster.pods(listed)

    def pod(self, pod: Pod, *, gone: bool = False) -> None:
        """Take in one event of the watch: how the pod is now, or was when it went."""
        self._roster.pod(pod, gone=gone)

    def trust(self, *, current: bool) -> None:
        """Say whether the watch keeps up: while it does not, nothing counts as left behind."""
        self._current = current

    def claim(self, claim: Claim) -> None:
        """Take in all that a pod's container states; it is told how things stand in any case."""
        self._heard[claim.pod] = self._heard.get(claim.pod, frozenset()) | claim.again
        self._roster.claim(claim)
        self._teller.asked(claim.pod)

    def unclaim(self, key: PodKey) -> None:
        """Take note that a pod's session has ended; its addresses stay until the pod is gone."""
        self._roster.unclaim(key)
        self._teller.left(key)

    def standings(self) -> Mapping[PodKey, ClaimStatus]:
        """Say how the pods stand that have a session."""
        return dict(self._teller.standings)

    def changes(self) -> dict[PodKey, ClaimStatus]:
        """Give the standings that are to be told: those that have changed, and those of new claims."""
        return self._teller.changes()

    def happenings(self) -> list[AddressEvent]:
        """Give what has happened since the last time."""
        return self._teller.happenings() + (self._keeper.happenings() if self._keeper else [])

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""
        self._window.expected = self._roster.expected
        delays = [self._place()]
        if self._version != self._roster.version or self._heard:
            self._want()
        # In this order: what leaves makes room for what comes, and what has come is watched.
        delays += [self._releases.step(), self._reconciler.step(), self._keep(), self._drift.step()]
        if self._roster.next_change < NEVER:
            delays.append(remaining(self._roster.next_change, self._timing.clock()))
        self._tell()
        return min((delay for delay in delays if delay is not None), default=None)

    def _place(self) -> float | None:
        """Find the ENIs, and work out what the pods are to have."""
        roster, lookup = self._roster, self._lookup
        delay = None
        # Once more where the result shows that the ENIs are not all known.
        for _ in range(2):
            delay = lookup.step(roster.macs(), self._troubled())
            roster.resolve_conflicts(lookup.topology, lookup.unknown(roster.macs()))
            if all(not lookup.looking(address) for address in self._troubled()):
                break
        return delay

    def _troubled(self) -> frozenset[IPAddress]:
        """Give the addresses that no known ENI carries."""
        unplaced = (each.holding.address for wish in self._roster.wishes.values() for each in wish.unplaced)
        lost = (i.address for i in self.plan.items if i.failure and i.failure.fault is Fault.NO_ENI)
        return frozenset((*unplaced, *lost))

    def _want(self) -> None:
        desired = self._roster.desired
        again = frozenset().union(*map(self._again, self._heard))
        self._heard.clear()
        self._anew = {key: at for key, at in self._anew.items() if key in self._roster.wishes}
        before = {(item.eni_id, item.address): item for item in self.plan.items}
        owners = {
            (each.eni.id, each.holding.address): desired.owners[each.holding.address]
            for each in desired.placements
        }
        gone = {pair: key for pair, key in self._owners.items() if pair not in owners}
        self._owners = owners
        now = self._timing.clock()
        self._since = {pair: self._since.get(pair, now) for pair in owners}
        self._observe()
        self._reconciler.want(desired.placements, again)
        self._find()
        self._let_go(gone, before)
        self._teller.forget(self._roster.wishes.keys())
        self._version = self._roster.version

    def _find(self) -> None:
        """Leave what the pods of the first list have already: EC2 need not be asked for it again.

        Of later pods what EC2 shows is no ground not to ask: it may be old by seconds.
        """
        if self._beginning and self._lookup.topology.held:
            for held in self._lookup.topology.held:
                self._reconciler.find(held)
            self._beginning = False

    def _again(self, key: PodKey) -> frozenset[IPAddress]:
        """Give the pod's addresses that a claim has tried anew: what was added anew, or what had failed.

        A sidecar that merely comes back does not fight for what another ENI took; a pod that starts does.
        """
        session, now = self._roster.sessions.get(key), self._timing.clock()
        owners = self._roster.desired.owners
        again = frozenset(address for address in self._heard[key] if owners.get(address) == key)
        if session is None or session.opened != session.at or now < self._anew.get(key, now):
            return again
        outlook = self._outlook()
        tried = [item for item in self._items.get(key, ()) if not pending(item, outlook)]
        keep = {Phase.CONFIRMED} if session.claim.mode is Mode.INIT else {Phase.CONFIRMED, Phase.TAKEN}
        failed = frozenset(item.address for item in tried if item.phase not in keep)
        if failed:
            self._anew[key] = now + ANEW_SECONDS
        return again | failed

    def _let_go(self, gone: Mapping[Pair, PodKey], before: Mapping[Pair, Item]) -> None:
        """Release what a pod had that asked for it, and that no living pod names any more."""
        returns, asked, sessions = self._returns, self._reconciler.asked, self._roster.sessions
        returns.heed(sessions)
        ours = {
            pair: key
            for pair, key in gone.items()
            if pair in asked and pair in before and before[pair].phase not in NOT_OURS
        }
        returns.let_go(ours, self._named() if ours else ())
        self._releases.want(returns.wanted, self._owners)
        returns.keep(self._releases.pending, sessions)
        if gone:
            asked &= self._owners.keys() | self._releases.pending

    def _keep(self) -> float | None:
        """Let the keeper work; room that it has made is used at once."""
        keeper = self._keeper
        if keeper is None:
            return None
        full = self._full()
        for eni_id in sorted({item.eni_id for item in full}):
            keeper.make_room(eni_id)
        self._observe()
        delay = keeper.step()
        freed = keeper.freed()
        again = {item.address for item in full if item.eni_id in freed}
        if not again:
            return delay
        self._reconciler.want(self._roster.desired.placements, again)
        return 0.0

    def _observe(self) -> None:
        """Let the keeper see what has changed."""
        complete = self._roster.complete and self._current
        now_shown = complete, self.plan, self._roster.version, self._releases.pending
        if self._keeper is None or now_shown == self._shown:
            return
        self._shown = now_shown
        unsettled = {(i.eni_id, i.address) for i in self.plan.items if i.phase not in SETTLED}
        self._keeper.observe(
            Ownership(
                complete=complete,
                owners=self._owners,
                floating=self._floating(),
                named=self._named(),
                unstated=self._roster.unstated(),
                stated=self._roster.stated(),
                busy=frozenset(unsettled | self._releases.pending),
            )
        )

    def _floating(self) -> frozenset[Pair]:
        wishes = self._roster.wishes
        return frozenset(
            pair for pair, key in self._owners.items() if key not in wishes or pair[1] not in wishes[key].own
        )

    def _named(self) -> frozenset[IPAddress]:
        return frozenset().union(*(wish.named for wish in self._roster.wishes.values()))

    def _full(self) -> list[Item]:
        return [item for item in self.plan.items if item.failure and item.failure.fault is Fault.ENI_FULL]

    def _outlook(self) -> StatusContext:
        keeper, full = self._keeper, {item.eni_id for item in self._full()}
        room = frozenset(eni_id for eni_id in full if keeper and keeper.making_room(eni_id))
        return StatusContext(self._reconciler.described, room, lookup=self._lookup.error)

    def _tell(self) -> None:
        """Work out what is new for those who watch and for those who wait."""
        roster, desired, outlook = self._roster, self._roster.desired, self._outlook()
        now_told = self.plan, self._version, outlook, self._lookup.sought, self._releases.pending
        if now_told == self._told:
            return
        self._told = now_told
        items: dict[PodKey, list[Item]] = {}
        for item in self.plan.items:
            items.setdefault(desired.owners[item.address], []).append(item)
        self._items = items
        for key, wish in roster.wishes.items():
            session = roster.sessions.get(key)
            asking = session is not None and session.ended is None
            if session and asking and session.given_back:
                self._teller.say(key, self._returns.standing(key))
                continue
            looking = any(self._lookup.looking(each.holding.address) for each in wish.unplaced)
            mine, conflicts = items.get(key, []), desired.conflicts.get(key, ())
            seen = replace(outlook, looking=True) if looking else outlook
            self._teller.tell(ReportedState(wish, mine, conflicts, seen, asking), self._since)
        for key in roster.sessions.keys() - roster.wishes.keys():
            self._teller.say(key, UNSEEN)
