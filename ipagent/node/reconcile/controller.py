"""Node controller: turns pods and claims into EC2 calls, claim statuses and events, one step at a time.

It never blocks but for EC2, and keeps nothing that it could not learn again from a list of pods, the sessions
that come back, and EC2. What is routable stays so while the API server or EC2 is away: an address is only
dropped when its pod is known to be gone, and only released if that pod asked for it.

Thread: the main loop's (loop.py) calls every method; metrics and `ipagent node status` read the properties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ipagent.assign.address_state import SETTLED, PlannedAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import HEALING, Fault
from ipagent.assign.engine import AddressEngine
from ipagent.assign.plan import Plan
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.release import Pair
from ipagent.assign.retry import Timing, remaining
from ipagent.log import Log
from ipagent.node.model.address_events import AddressEvent
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.garbage_collector import GarbageCollector
from ipagent.node.model.grants import Grants
from ipagent.node.model.pod import ElasticIps, Pod, PodKey
from ipagent.node.model.pool_addresses import NO_POOL, PoolAddresses
from ipagent.node.reconcile.batch_window import BatchWindow, CallObserver
from ipagent.node.reconcile.claim_status import UNSEEN, StatusContext, pending
from ipagent.node.reconcile.eni_cache import EniCache
from ipagent.node.reconcile.eni_lookup import EniLookup
from ipagent.node.reconcile.prefix_addresses import DelegatedPrefixes, Read, nothing_delegated
from ipagent.node.reconcile.releases import RELEASES, LeftoverAddresses, PendingReleases
from ipagent.node.reconcile.reporter import ClaimStatusReporter, PodState
from ipagent.node.reconcile.retries import ClaimRetries
from ipagent.node.reconcile.state import NEVER, NodeState

POOL_SECONDS = 5.0
"""Between looks whether it is known what stays on the ENIs, while something waits for that to be released."""
RETRIED = HEALING | {Fault.NO_ENI, Fault.BAD_CALL, Fault.UNKNOWN}
"""A node agent lives for months: it also tries again, if rarely, what it does not understand."""


class NodeController:
    """One node's pods, claims and addresses; `collector` reclaims what is leaked.

    With `every_pod` also the pods whose container does not wait have a status. `delegated` asks IMDS for the
    prefixes of ENIs. `pool` returns the secondary addresses that stay on their ENIs when pods go. `window`
    says when to call.
    """

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        cloud: Cloud,
        grants: Grants,
        timing: Timing,
        log: Log,
        collector: GarbageCollector | None = None,
        *,
        every_pod: bool = False,
        delegated: Read = nothing_delegated,
        pool: Callable[[], PoolAddresses | None] = lambda: NO_POOL,
        window: BatchWindow | None = None,
    ) -> None:
        self._timing = timing
        self._collector = collector
        self._window = window or BatchWindow()
        self._cloud = CallObserver(cloud, self._window, timing)
        self._state = NodeState(grants, timing.clock)
        self._enis = EniCache(self._cloud, timing, log)
        self._lookup = EniLookup(self._state, self._enis, DelegatedPrefixes(delegated, timing))
        self._reconciler = Reconciler(self._cloud, timing=timing, log=log, window=self._window.due)
        self._reconciler.plan = replace(self._reconciler.plan, retried=RETRIED)
        self._reporter = ClaimStatusReporter(timing.clock, every_pod=every_pod)
        self._pending_releases = PendingReleases(self._reporter.add_event)
        ended = self._pending_releases.record_outcome
        self._engine = AddressEngine(self._reconciler, self._cloud, timing, log, ended, release_rate=RELEASES)
        self._releases = self._engine.releases
        self._left = LeftoverAddresses(self._state, self._pending_releases, self._releases, pool)
        self._watch_current = True
        self._starting = False
        self._applied_version = 0
        self._reported_inputs: object = None
        self._observed_inputs: object = None
        self._items: dict[PodKey, list[PlannedAddress]] = {}
        # Pairs that are wanted: whose they are, and since when.
        self._owners: dict[Pair, PodKey] = {}
        self._since: dict[Pair, float] = {}
        self._retries = ClaimRetries(self._state, timing.clock)

    @property
    def plan(self) -> Plan:
        """What is wanted, and how far it is."""
        return self._reconciler.plan

    @property
    def conflicts(self) -> int:
        """How many addresses of the node's pods somebody else has, here or elsewhere."""
        here = sum(map(len, self._state.desired.conflicts.values()))
        return here + sum(item.conflict for item in self.plan.items)

    @property
    def owners(self) -> Mapping[Pair, PodKey]:
        """The pods that own the wanted addresses, by ENI id and address."""
        return self._owners

    @property
    def pods(self) -> Iterable[Pod] | None:
        """The node's living pods; None as long as they are not known."""
        return self._state.pods if self._state.complete else None

    @property
    def elastic_ips(self) -> Mapping[PodKey, ElasticIps]:
        """What has become of the Elastic IPs that the node's pods claim."""
        pods = (each.pod for each in tuple(self._state.by_pod.values()))
        return {pod.key: pod.elastic_ips for pod in pods if pod.elastic_ips is not None}

    def replace_pods(self, pods: Iterable[Pod]) -> None:
        """Record a complete list of the node's pods, which replaces all that was known of them."""
        listed = tuple(pods)
        if not self._state.complete:
            self._starting = any(pod.holdings for pod in listed)
        self._state.replace_pods(listed)

    def update_pod(self, pod: Pod, *, gone: bool = False) -> None:
        """Record one event of the watch: how the pod is now, or was when it went."""
        self._state.update_pod(pod, gone=gone)

    def set_watch_current(self, *, current: bool) -> None:
        """Record whether the watch keeps up: while it does not, nothing counts as leaked."""
        self._watch_current = current

    def set_claim(self, claim: Claim) -> None:
        """Record all that a pod's container claims; a status is reported for it in any case."""
        self._retries.add(claim)
        self._state.set_claim(claim)
        self._reporter.expect_answer(claim.pod)

    def end_session(self, key: PodKey) -> None:
        """Record that a pod's session has ended; its addresses stay until the pod is gone."""
        self._state.end_session(key)
        self._reporter.end_session(key)

    def statuses(self) -> Mapping[PodKey, ClaimStatus]:
        """Return the status of each pod that has a session."""
        return self._reporter.statuses

    def take_status_changes(self) -> Mapping[PodKey, ClaimStatus]:
        """Return the statuses that have changed, and those of new claims, since the last call."""
        return self._reporter.take_status_changes()

    def take_pod_statuses(self) -> Mapping[PodKey, ClaimStatus]:
        """Return the statuses of living pods with Multus interfaces that have changed since the last call."""
        return self._reporter.take_pod_statuses()

    def take_events(self) -> list[AddressEvent]:
        """Return the events since the last call."""
        return self._reporter.take_events() + (self._collector.take_events() if self._collector else [])

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""
        self._window.expected = self._state.expected
        delays = [self._lookup.step(self.plan)]
        if self._outdated():
            self._apply_desired()
        delays += [self._engine.step(), self._collect()]
        # After the work: it may have shown that an ENI is gone.
        delays.append(self._lookup.due_in(self.plan))
        if (at := min(self._state.next_change, self._retries.due_at)) < NEVER:
            delays.append(remaining(at, self._timing.clock()))
        if self._left.waiting:
            delays.append(POOL_SECONDS)
        self._report()
        return min((delay for delay in delays if delay is not None), default=None)

    def _outdated(self) -> bool:
        """Whether the reconciler has to be told what is wanted, or something that waited can be released."""
        if self._applied_version != self._state.version or self._retries.due_at <= self._timing.clock():
            return True
        return self._left.decidable

    def _apply_desired(self) -> None:
        """Hand the desired placements to the reconciler, and release what a pod that is gone had."""
        desired = self._state.desired
        context = self._status_context()
        again = self._retries.take(self._items, lambda item: pending(item, context))
        assigned = self._reconciler.assigned(self.plan.items)
        owners = {
            (each.eni.id, each.holding.address): desired.owners[each.holding.address]
            for each in desired.placements
        }
        gone = {pair: key for pair, key in self._owners.items() if pair not in owners}
        self._owners = owners
        now = self._timing.clock()
        self._since = {pair: self._since.get(pair, now) for pair in owners}
        self._show_ownership()
        self._reconciler.set_desired(desired.placements, again)
        self._adopt_assigned()
        self._left.release({pair: key for pair, key in gone.items() if pair in assigned}, owners)
        if gone:
            self._reconciler.asked &= self._owners.keys() | self._releases.pending
        self._reporter.prune(self._state.by_pod.keys())
        self._applied_version = self._state.version

    def _adopt_assigned(self) -> None:
        """Count what the pods of the first list have already as assigned: EC2 need not be asked for it again.

        For later pods what EC2 shows is not a reason to leave the call out: it may be old by seconds.
        """
        if self._starting and self._enis.topology.held:
            for held in self._enis.topology.held:
                self._reconciler.adopt(held)
            self._starting = False

    def _collect(self) -> float | None:
        """Let the collector work; slots that it has freed are used at once."""
        collector = self._collector
        if collector is None:
            return None
        full = self._full()
        for eni_id in sorted({item.eni_id for item in full}):
            collector.make_room(eni_id)
        self._show_ownership()
        delay = collector.step()
        freed = collector.take_freed()
        again = {item.address for item in full if item.eni_id in freed}
        if not again:
            return delay
        self._reconciler.set_desired(self._state.desired.placements, again)
        return 0.0

    def _show_ownership(self) -> None:
        """Pass the ownership on to the collector if it has changed."""
        complete = self._state.complete and self._watch_current
        inputs = complete, self.plan, self._state.version, self._releases.pending
        if self._collector is None or inputs == self._observed_inputs:
            return
        self._observed_inputs = inputs
        unsettled = {(i.eni_id, i.address) for i in self.plan.items if i.phase not in SETTLED}
        busy = frozenset(unsettled | self._releases.pending)
        self._collector.observe(self._state.ownership(self._owners, busy, complete=complete))

    def _full(self) -> list[PlannedAddress]:
        return [item for item in self.plan.items if item.failure and item.failure.fault is Fault.ENI_FULL]

    def _status_context(self) -> StatusContext:
        collector, full = self._collector, {item.eni_id for item in self._full()}
        room = frozenset(eni_id for eni_id in full if collector and collector.is_reclaiming(eni_id))
        return StatusContext(self._reconciler.described, room, lookup_error=self._enis.error)

    def _report(self) -> None:
        """Report the status and the events of each pod, as far as anything has changed."""
        state, desired, context = self._state, self._state.desired, self._status_context()
        inputs = self.plan, self._applied_version, context, self._enis.looked_for, self._releases.pending
        if inputs == self._reported_inputs:
            return
        self._reported_inputs = inputs
        items: dict[PodKey, list[PlannedAddress]] = {}
        for item in self.plan.items:
            items.setdefault(desired.owners[item.address], []).append(item)
        self._items = items
        for key, pod_desired in state.by_pod.items():
            claim = state.claims.get(key)
            has_session = claim is not None and claim.ended is None
            eip_wait = claim is not None and claim.claim.eip_wait
            if claim and has_session and claim.given_back:
                self._reporter.set_status(key, self._pending_releases.status(key))
                continue
            looking = any(self._enis.may_appear(each.holding.address) for each in pod_desired.unplaced)
            mine, conflicts = items.get(key, []), desired.conflicts.get(key, ())
            pod = pod_desired.pod
            seen = context
            if looking or pod.leaving or pod.remade:
                leaving, remade = pod.leaving and pod_desired.withheld, pod.remade and not pod.leaving
                seen = replace(context, looking=looking, leaving=leaving, remade=remade)
            self._reporter.update(
                PodState(pod_desired, mine, conflicts, seen, has_session, eip_wait), self._since
            )
        for key in state.claims.keys() - state.by_pod.keys():
            self._reporter.set_status(key, UNSEEN)
