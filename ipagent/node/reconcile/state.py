"""State of the node: its living pods, their claims, and what they are to have.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from common.agent_settings import Mode
from common.token_bucket import Rate, TokenBucket
from ipagent.assign.addresses import Detection, IPAddress
from ipagent.assign.release import Pair
from ipagent.assign.selection import DETECTION_SECONDS, PRIMARY_INTERFACE
from ipagent.assign.topology import Topology
from ipagent.node.model.claim import Claim
from ipagent.node.model.grants import Grants
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from ipagent.node.reconcile.conflicts import Desired, resolve_conflicts
from ipagent.node.reconcile.desired import ClaimView, PodDesired, desired_for
from ipagent.node.reconcile.eni_cache import LEAST_WAIT

STATUS_SECONDS = 2.0
"""How long after the pod's claim its network-status may arrive, before what it lacks is refused."""
SILENT_SECONDS = 600.0
"""For how long a pod whose session has ended keeps its claim from others; without rivals it keeps it."""
EXPECTED_SECONDS = 5.0
"""For how long a pod without network-status announces addresses: the CNI takes seconds, or has failed."""
NEVER = float("inf")
BUDGET = Rate(10, 1 / 30)
"""Changes that a pod makes and that cause EC2 calls, about four each: 10 at once, then one in 30 s."""
TOO_OFTEN = "the pod has changed its addresses too often: the next change is made within half a minute"


@dataclass
class PodClaims:
    """The claim of a pod's container: `opened` is when its session began, `at` when it last claimed."""

    claim: Claim
    opened: float
    at: float
    ended: float | None = None
    tentative: dict[IPAddress, float] = field(default_factory=dict)

    @property
    def given_back(self) -> bool:
        """Whether the container ends and the pod's addresses go with it."""
        return self.claim.leaving and self.claim.release_on_exit

    def set(self, claim: Claim, now: float) -> None:
        """Record a claim, which replaces the one before."""
        if self.ended is not None:
            self.opened, self.ended = now, None
        self.claim, self.at = claim, now
        tentative = {
            each.address for each in claim.snapshot.addresses if each.detection is Detection.TENTATIVE
        }
        self.tentative = {address: self.tentative.get(address, now) for address in tentative}

    def changes(self) -> Iterator[float]:
        """Yield the times at which it counts differently without a new claim."""
        yield self.at + STATUS_SECONDS
        yield from (since + DETECTION_SECONDS for since in self.tentative.values())
        if self.ended is not None:
            yield self.ended + SILENT_SECONDS

    def view(self, now: float) -> ClaimView:
        """Return how the claim counts now."""
        return ClaimView(
            self.claim,
            frozenset(a for a, since in self.tentative.items() if now < since + DETECTION_SECONDS),
            settled=now >= self.at + STATUS_SECONDS,
            silent=self.ended is not None and now >= self.ended + SILENT_SECONDS,
        )


class NodeState:
    """The node's pods and claims, and what each pod is to have; `version` grows with each change of that."""

    def __init__(self, grants: Grants, clock: Callable[[], float]) -> None:
        self.complete = False
        self.desired = Desired()
        self.by_pod: dict[PodKey, PodDesired] = {}
        self.claims: dict[PodKey, PodClaims] = {}
        self.version = 0
        self._grants = grants
        self._clock = clock
        self._pods: dict[PodKey, Pod] = {}
        self._waiting: dict[PodKey, float] = {}
        self._changes: dict[PodKey, float] = {}
        self._topology = Topology(())
        self._unknown: frozenset[str] = frozenset()
        # In order, so that whatever follows from it is in order.
        self._outdated: dict[PodKey, None] = {}
        self._budgets: dict[PodKey, TokenBucket] = {}
        self._macs: frozenset[str] | None = None
        self._attached_macs: frozenset[str] = frozenset()
        self._attached: frozenset[tuple[str, IPAddress]] = frozenset()
        self._stated_macs: frozenset[str] = frozenset()

    @property
    def pods(self) -> Iterable[Pod]:
        """The living pods."""
        return self._pods.values()

    def replace_pods(self, pods: Iterable[Pod]) -> None:
        """Record a complete list: a pod that is not in it is gone."""
        listed = {pod.key: pod for pod in pods}
        for key in [key for key in self._pods if key not in listed]:
            self._forget(key)
        for pod in listed.values():
            self.update_pod(pod)
        self.complete = True

    def update_pod(self, pod: Pod, *, gone: bool = False) -> None:
        """Record how one pod is now; a pod that has ended holds nothing."""
        pod = pod.after(self._pods.get(pod.key))
        if gone or not pod.alive:
            self._forget(pod.key)
        elif self._pods.get(pod.key) != pod:
            self._pods[pod.key] = pod
            self._invalidate(pod.key)
            if pod.waiting:
                self._waiting.setdefault(pod.key, self._clock())
            else:
                self._waiting.pop(pod.key, None)

    def _forget(self, key: PodKey) -> None:
        self._waiting.pop(key, None)
        self._budgets.pop(key, None)
        known = [self._pods.pop(key, None), self.claims.pop(key, None)]
        if any(each is not None for each in known):
            self._invalidate(key)

    def _invalidate(self, key: PodKey) -> None:
        self._outdated[key] = None
        self._macs = None

    def set_claim(self, claim: Claim) -> None:
        """Record what a pod's container claims; the pod itself may be yet to come."""
        now = self._clock()
        known = self.claims.setdefault(claim.pod, PodClaims(claim, now, now))
        known.set(claim, now)
        self._invalidate(claim.pod)

    def end_session(self, key: PodKey) -> None:
        """Record that the pod's session has ended: its claim holds for the time being."""
        known = self.claims.get(key)
        if known is None:
            return
        if key not in self._pods:
            self._forget(key)
        elif known.ended is None:
            known.ended = self._clock()
            self._invalidate(key)

    @property
    def expected(self) -> int:
        """How many pods are about to have addresses: they wait for Multus."""
        now = self._clock()
        return sum(now < since + EXPECTED_SECONDS for since in self._waiting.values())

    def macs(self) -> frozenset[str]:
        """Return the MACs of the interfaces that addresses may be on."""
        if self._macs is None:
            self._macs = self._read_macs()
        return self._macs

    def _read_macs(self) -> frozenset[str]:
        stated = {
            link.mac
            for key, known in self.claims.items()
            if self._grants.of(key.namespace).cidrs
            for link in known.claim.snapshot.links
            if link.mac and not link.loopback and link.name != PRIMARY_INTERFACE
        }
        self._attached = frozenset(
            (each.mac, each.address) for pod in self._pods.values() for each in pod.holdings if each.mac
        )
        self._attached_macs = frozenset(mac for mac, _ in self._attached)
        self._stated_macs = frozenset(stated)
        return self._attached_macs | stated

    def attached_macs(self) -> frozenset[str]:
        """Return the MACs of the interfaces that Multus has made."""
        self.macs()
        return self._attached_macs

    def attached(self) -> frozenset[tuple[str, IPAddress]]:
        """Return what Multus has given to pods: MACs and addresses."""
        self.macs()
        return self._attached

    def macs_beyond(self, covers: Callable[[str, IPAddress], bool]) -> frozenset[str]:
        """Return the MACs of the interfaces that may have an address for which EC2 has to be asked."""
        self.macs()
        return self._stated_macs | {mac for mac, address in self._attached if not covers(mac, address)}

    def resolve_conflicts(self, topology: Topology, unknown: frozenset[str] = frozenset()) -> None:
        """Work out what each pod is to have, if anything has changed.

        `unknown` are the MACs of which the topology can't say yet whether they are an ENI's.
        """
        now = self._clock()
        if (topology, unknown) != (self._topology, self._unknown):
            self._topology, self._unknown = topology, unknown
            self._outdated.update(dict.fromkeys(self._pods))
        if now >= self.next_change:
            self._outdated.update({key: None for key, at in self._changes.items() if at <= now})
        if not self._outdated:
            return
        for key in self._outdated:
            self._update(key, now)
        self._outdated.clear()
        self.desired = resolve_conflicts(self.by_pod.values(), self.desired)
        self.version += 1

    def _update(self, key: PodKey, now: float) -> None:
        pod, known = self._pods.get(key), self.claims.get(key)
        times = (at for at in known.changes() if at > now) if known else ()
        self._changes[key] = min(times, default=NEVER)
        if self._changes[key] == NEVER:
            del self._changes[key]
        if pod is None:
            self.by_pod.pop(key, None)
            return
        stated = known.view(now) if known else None
        found = desired_for(pod, stated, self._grants.of(key.namespace), self._topology, self._unknown)
        self.by_pod[key] = self._within_budget(found, now)

    def _within_budget(self, found: PodDesired, now: float) -> PodDesired:
        """Hold back what is new of a pod that changes its addresses faster than EC2 is to be called for it.

        What it had stays, and what it dropped is gone: a release is as often as what is new.
        """
        key = found.pod.key
        before = self.by_pod.get(key)
        had = {(each.eni.id, each.holding.address) for each in before.placements} if before else set()
        kept = tuple(each for each in found.placements if (each.eni.id, each.holding.address) in had)
        if len(kept) == len(found.placements) or not (wait := self.spend(key, now)):
            return found
        self._changes[key] = min(self._changes.get(key, NEVER), now + wait)
        fresh = {each.holding: TOO_OFTEN for each in found.placements if each not in kept}
        return replace(found, placements=kept, held_back={**found.held_back, **fresh})

    def spend(self, key: PodKey, now: float) -> float:
        """Take one change from the pod's budget; returns 0.0, or the seconds until it has one."""
        budget = self._budgets.setdefault(key, TokenBucket(BUDGET))
        return 0.0 if budget.take(now) else max(LEAST_WAIT, budget.wait(now))

    @property
    def next_change(self) -> float:
        """When something changes although nobody says anything, on the clock; NEVER if nothing does."""
        return min(self._changes.values(), default=NEVER)

    def named(self) -> frozenset[IPAddress]:
        """Return every address that a living pod names, also where it is refused."""
        return frozenset().union(*(desired.named for desired in self.by_pod.values()))

    def ownership(self, owners: Mapping[Pair, PodKey], busy: frozenset[Pair], *, complete: bool) -> Ownership:
        """Return who holds what, for the garbage collector."""
        by_pod = self.by_pod
        floating = (
            pair for pair, key in owners.items() if key not in by_pod or pair[1] not in by_pod[key].own
        )
        return Ownership(
            complete=complete,
            owners=owners,
            floating=frozenset(floating),
            named=self.named(),
            unstated=self.unstated(),
            stated=self.stated(),
            mirrors=frozenset(key for key, each in by_pod.items() if each.pod.mirror),
            busy=busy,
        )

    def stated(self) -> frozenset[PodKey]:
        """Return the pods whose sidecar has claimed all that it holds, over a session that is open."""
        return frozenset(
            key
            for key, known in self.claims.items()
            if known.ended is None and known.claim.mode is Mode.SIDECAR
        )

    def unstated(self) -> Mapping[PodKey, frozenset[str]]:
        """Return the pods that may hold what they have not claimed, with the ENIs on which (none: on any)."""
        found = {}
        stated = self.stated()
        for key, each in self.by_pod.items():
            agent = each.pod.agent
            if not each.pod.attached:
                continue
            if agent is InjectedAgent.DIRECT_SIDECAR or (
                agent is InjectedAgent.NODE_SIDECAR and key not in stated
            ):
                found[key] = frozenset(placement.eni.id for placement in each.placements)
        return found
