"""Pods come, go and lie; EC2, the API server and the agent fail: what holds all the time, and at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.agent_settings import Mode, Takeover
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress, parse_address
from ipagent.assign.ec2_error_codes import Fault
from ipagent.main_loop import Wakeup
from ipagent.node.gc.collector import Collector
from ipagent.node.gc.records import Origin, OwnershipRecords
from ipagent.node.gc.undo_reclaim import ListingFailed
from ipagent.node.loop import Loop
from ipagent.node.model.claim import Claim, ClaimState, ClaimStatus
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.grants import read_grants
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from ipagent.node.reconcile.controller import NodeController
from ipagent.node.sessions.claim_queue import ClaimQueue, SessionClosed
from tests.ipagent.fakes import Lines, Strike, Time
from tests.ipagent.node.account import Account, NodeCloud
from tests.ipagent.node.pods import claim, holding

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

OWN = tuple(map(parse_address, ("10.1.1.1", "10.1.1.2", "10.1.1.3", "2001:db8:1::1")))
"""What IPAM hands out to the namespace `apps`, which has a grant."""
WEB = tuple(map(parse_address, ("10.1.2.1", "10.1.2.2", "2001:db8:1::2")))
"""And to `web`, which has none."""
FLOATS = tuple(map(parse_address, ("10.1.9.1", "10.1.9.2", "2001:db8:1:0:9::1")))
"""What pods of the namespace `apps` may add by themselves."""
FOREIGN = tuple(map(parse_address, ("10.1.200.1", "2001:db8:1::200")))
"""On our ENI and on another, for a reason of their own: no pod ever has them."""
CIDRS = ["10.1.9.0/24", "2001:db8:1:0:9::/80"]
GRANTS = read_grants({"apps": {"cidrs": [*CIDRS, "10.1.0.0/16"], "takeover": True}})
RULES = GcPolicy(mode=GcMode.ON)
PROTECTED = GcPolicy(mode=GcMode.ON, protected=tuple(map(ip_network, CIDRS)))
ENI, ELSEWHERE = "eni-a-1", "eni-b-1"


class KilledError(Exception):
    """The agent's process is gone."""


@dataclass
class Life:
    """A pod as it really is; `told` is what the API server has of it."""

    key: PodKey
    agent: InjectedAgent
    own: set[IPAddress]
    release: bool = False
    takeover: Takeover = Takeover.ALWAYS
    written: bool = False
    floats: set[IPAddress] = field(default_factory=set)
    leaving: bool = False
    connected: bool = False
    anew: set[IPAddress] = field(default_factory=set)
    had: set[IPAddress] = field(default_factory=set)
    """Its own before its sandbox was made anew."""

    @property
    def held(self) -> set[IPAddress]:
        return self.own | self.floats

    @property
    def granted(self) -> bool:
        return self.key.namespace == "apps"

    @property
    def talks(self) -> bool:
        return self.agent in (InjectedAgent.NODE_INIT, InjectedAgent.NODE_SIDECAR)

    def told(self) -> Pod:
        holdings = tuple(holding(str(address)) for address in sorted(self.own, key=str))
        return Pod(
            self.key,
            alive=True,
            leaving=self.leaving,
            holdings=holdings if self.written else (),
            waiting=not self.written,
            takeover=self.takeover,
            agent=self.agent,
        )

    def claim(self, *, leaving: bool = False) -> Claim:
        mode = Mode.SIDECAR if self.agent is InjectedAgent.NODE_SIDECAR else Mode.INIT
        anew, self.anew = frozenset(self.anew), set()
        return claim(
            self.key.name,
            *map(str, sorted(self.held, key=str)),
            namespace=self.key.namespace,
            mode=mode,
            interfaces=("net1",),
            takeover=self.takeover,
            release_on_exit=self.release,
            again=anew,
            leaving=leaving,
        )


class Disk:
    """What outlives the agent's process."""

    def __init__(self) -> None:
        self.records = OwnershipRecords()

    def load(self) -> OwnershipRecords:
        return self.records

    def put(self, records: OwnershipRecords) -> None:
        self.records = records

    def step(self) -> float | None:
        return None


class ApiServer:
    """Lists the node's pods, if it is there."""

    def __init__(self, lives: dict[PodKey, Life]) -> None:
        self.lives = lives
        self.away = False

    def pods(self) -> tuple[Pod, ...]:
        if self.away:
            raise ListingFailed("the API server is away")
        return tuple(life.told() for life in self.lives.values())


class Sessions:
    """The session server without sockets: the real claim queue, and the answer to each pod's last claim."""

    def __init__(self) -> None:
        self.queue = ClaimQueue()
        self.tickets: dict[PodKey, int] = {}
        self.answers: dict[PodKey, ClaimStatus] = {}
        self.fresh: dict[PodKey, ClaimStatus] = {}

    def claim(self, claim: Claim) -> None:
        self.tickets[claim.pod] = self.queue.put(claim)
        self.answers.pop(claim.pod, None)

    def close(self, pod: PodKey) -> None:
        self.queue.close(pod)
        self.tickets.pop(pod, None)
        self.answers.pop(pod, None)

    def set_living_pods(self, living: Collection[PodKey]) -> None:
        for pod in self.tickets.keys() - set(living):
            self.close(pod)

    def take_claims(self) -> list[Claim | SessionClosed]:
        return self.queue.take()

    def publish(self, changes: Mapping[PodKey, ClaimStatus]) -> None:
        for update in self.queue.match(changes):
            # As a session does: an answer to the claim before is dropped.
            if self.tickets.get(update.pod) == update.ticket:
                self.answers[update.pod] = self.fresh[update.pod] = update.status


class Node(RuleBasedStateMachine):
    """A node with up to five pods, whose agent may be killed before any call; another node beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.account = Account(self.time, room=7)
        self.cloud: NodeCloud = self.account.node("a", 1)
        self.account.node("b", 2)
        self.account.enis[ENI].secondaries.add(FOREIGN[0])
        self.account.enis[ELSEWHERE].secondaries.update(FOREIGN[1:])
        self.primaries = {key: each.primary for key, each in self.account.enis.items()}
        self.lives: dict[PodKey, Life] = {}
        self.api = ApiServer(self.lives)
        self.disk = Disk()
        self.sweeping = RULES
        self.names = count()
        self.wakeup = Wakeup()
        self.age: float | None = 0.0
        self.seen: set[IPAddress] = set()
        self.robbed = False
        self.kill_in: int | None = None
        self.account.before_call = self._called
        self._watch_changes()
        self._start()

    # What the agent lives in.

    def _called(self, kind: str) -> None:
        assert kind
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                self.kill_in = None
                raise KilledError

    def _watch_changes(self) -> None:
        cloud = self.cloud
        assign, unassign = cloud.assign, cloud.unassign

        def assigned(call: Assign) -> frozenset[IPAddress]:
            assert self.seen.issuperset(call.addresses), "no pod named it"
            if call.allow_reassignment:
                assert not set(call.addresses) & set(WEB), "without the right to take it over"
            return assign(call)

        def unassigned(call: Unassign) -> None:
            if call.eni_id == ENI:
                assert not set(call.addresses) & self._known_to_be_held(), "a living pod holds it"
            unassign(call)

        cloud.assign, cloud.unassign = assigned, unassigned  # type: ignore[method-assign]

    def _known_to_be_held(self) -> set[IPAddress]:
        """What living pods hold, save what nobody could know of yet."""
        found: set[IPAddress] = set()
        for life in self.lives.values():
            found |= life.floats
            if life.written and not self.behind:
                found |= life.own
        return found

    behind = False
    """Whether the watch has not told everything."""

    def _start(self) -> None:
        self.lines = Lines()
        timing = self.time.timing
        collector = Collector(
            self.sweeping,
            self.cloud,
            self.api,
            self.disk,
            timing=timing,
            wall=self.time.clock,
            log=self.lines.log,
        )
        self.core = NodeController(self.cloud, GRANTS, timing, self.lines.log, collector)
        self.sessions = Sessions()
        self.loop = Loop(self.core, self.wakeup, lambda: self.age, lambda _: None, self.time.clock)
        self.loop.sessions = self.sessions
        for life in self.lives.values():
            life.connected = False
        self._list()

    def _list(self) -> None:
        try:
            pods = self.api.pods()
        except ListingFailed:
            self.behind = True
            return
        self.loop.on_list(pods)
        self.age = 0.0
        self.behind = False

    def _tell(self, life: Life, *, gone: bool = False) -> None:
        """Let the watch say how a pod is."""
        if life.written:
            self.seen |= life.own
        if self.api.away:
            self.behind = True
        else:
            self.loop.on_event(life.told(), gone)

    def _state(self, life: Life) -> None:
        """Let the pod's container say what it holds."""
        if life.granted:
            self.seen |= life.floats
        if life.connected:
            self.sessions.claim(life.claim())

    def _step(self) -> float | None:
        try:
            delay = self.loop.turn()
        except KilledError:
            self._start()
            return 0.0
        fresh, self.sessions.fresh = self.sessions.fresh, {}
        for key, said in fresh.items():
            life = self.lives.get(key)
            if life and said.state is ClaimState.ASSIGNED and not (self.robbed or self.behind):
                assert self.account.enis[ENI].secondaries >= life.held, "confirmed and not assigned"
        return delay

    def _some(self, draw: st.DataObject, fit: Callable[[Life], bool]) -> Life | None:
        fitting = [life for life in self.lives.values() if fit(life)]
        return draw.draw(st.sampled_from(fitting)) if fitting else None

    # What may happen.

    @initialize(imds=st.booleans(), delay=st.sampled_from([0.0, 5.0, 60.0]), protected=st.booleans())
    def begin(self, imds: bool, delay: float, protected: bool) -> None:
        self.cloud.imds, self.cloud.imds_delay = imds, delay
        self.sweeping = PROTECTED if protected else RULES
        self._start()
        for number, release in enumerate((True, False)):
            agent = InjectedAgent.NODE_SIDECAR
            self.a_pod_starts({number}, agent, "apps", release, Takeover.ALWAYS, True)
        self.time_passes(60.0)

    @precondition(lambda self: len(self.lives) < 5)
    @rule(
        own=st.sets(st.integers(0, 3), min_size=1, max_size=2),
        agent=st.sampled_from(InjectedAgent),
        namespace=st.sampled_from(["apps", "apps", "web"]),
        release=st.booleans(),
        takeover=st.sampled_from(Takeover),
        written=st.booleans(),
    )
    def a_pod_starts(
        self,
        own: set[int],
        agent: InjectedAgent,
        namespace: str,
        release: bool,
        takeover: Takeover,
        written: bool,
    ) -> None:
        number = next(self.names)
        key = PodKey(namespace, f"pod-{number}", f"uid-of-pod-{number}")
        life = Life(key, agent, self._from_ipam(namespace, own), release, takeover, written)
        self.lives[key] = life
        self._tell(life)
        if life.talks:
            life.connected = True
            self._state(life)

    @rule(data=st.data())
    def multus_writes_network_status_late(self, data: st.DataObject) -> None:
        if life := self._some(data, lambda life: not life.written):
            life.written = True
            self._tell(life)

    def _from_ipam(self, namespace: str, numbers: set[int]) -> set[IPAddress]:
        pool = OWN if namespace == "apps" else WEB
        return {pool[number % len(pool)] for number in numbers}

    @rule(data=st.data(), own=st.sets(st.integers(0, 3), min_size=1, max_size=2))
    def a_sandbox_is_made_anew(self, data: st.DataObject, own: set[int]) -> None:
        if life := self._some(data, lambda life: life.written):
            life.had |= life.own
            life.own, life.floats = self._from_ipam(life.key.namespace, own), set()
            self._state(life)
            self._tell(life)

    @rule(data=st.data(), address=st.sampled_from((*FLOATS, *OWN)))
    def a_pod_adds_an_address(self, data: st.DataObject, address: IPAddress) -> None:
        life = self._some(data, lambda life: life.agent is InjectedAgent.NODE_SIDECAR)
        # One that is not granted is refused; such a pod is not looked at.
        granted = life and GRANTS.of(life.key.namespace).covers(address)
        if life and granted and address not in life.own | self._held_by_others(life):
            life.floats.add(address)
            life.anew.add(address)
            self._state(life)

    def _held_by_others(self, life: Life) -> set[IPAddress]:
        return {address for other in self.lives.values() if other is not life for address in other.held}

    @rule(data=st.data())
    def a_pod_claims_what_is_anothers(self, data: st.DataObject) -> None:
        life = self._some(data, lambda life: life.connected)
        victim = self._some(data, lambda each: each is not life and each.written)
        if life and victim and not life.own & victim.own and not self.behind:
            stated = life.claim()
            more = claim(
                life.key.name, *map(str, victim.own), namespace=life.key.namespace, interfaces=("net1",)
            )
            self.sessions.claim(more)
            self._step()
            owners = {address: key for (_, address), key in self.core.owners.items()}
            assert all(owners.get(address) != life.key for address in victim.own)
            if life.connected:
                self.sessions.claim(stated)

    @rule(data=st.data())
    def a_pod_removes_an_address(self, data: st.DataObject) -> None:
        if life := self._some(data, lambda life: bool(life.floats)):
            life.floats.discard(data.draw(st.sampled_from(sorted(life.floats, key=str))))
            self._state(life)

    @rule(data=st.data())
    def a_session_breaks(self, data: st.DataObject) -> None:
        if life := self._some(data, lambda life: life.connected):
            self._step()
            life.connected, core = False, self.core
            owned = {pair for pair, key in core.owners.items() if key == life.key}
            self.sessions.close(life.key)
            self._step()
            if core is self.core:
                assert owned <= {pair for pair, key in core.owners.items() if key == life.key}

    @rule(data=st.data())
    def a_session_comes_back(self, data: st.DataObject) -> None:
        if life := self._some(data, lambda life: life.talks and not life.connected):
            life.connected = True
            self._state(life)

    @rule(data=st.data())
    def a_pod_is_deleted(self, data: st.DataObject) -> None:
        if life := self._some(data, lambda life: not life.leaving):
            life.leaving = True
            self._tell(life)

    @rule(data=st.data(), says_so=st.booleans())
    def a_pod_is_gone(self, data: st.DataObject, says_so: bool) -> None:
        if life := self._some(data, lambda life: life.key in self.lives):
            if says_so and life.connected and life.agent is InjectedAgent.NODE_SIDECAR:
                self.sessions.claim(life.claim(leaving=True))
                del self.lives[life.key]
                self._step()
            else:
                del self.lives[life.key]
            if life.connected:
                self.sessions.close(life.key)
            self._tell(life, gone=True)

    @rule(
        struck=st.lists(
            st.builds(
                Strike,
                st.sampled_from(["assign", "unassign", "holders", "describe", "lookup"]),
                st.sampled_from(
                    [
                        Fault.THROTTLED,
                        Fault.TRANSIENT,
                        Fault.UNREACHABLE,
                        Fault.NO_CREDENTIALS,
                        Fault.UNKNOWN,
                    ]
                ),
                st.booleans(),
            ),
            max_size=6,
        )
    )
    def ec2_fails(self, struck: list[Strike]) -> None:
        self.account.struck += struck

    @rule(calls=st.integers(0, 4))
    def the_agent_is_killed(self, calls: int) -> None:
        self.kill_in = calls

    @rule(seconds=st.sampled_from([0.0, 10.0, 300.0, 3600.0]))
    def the_api_server_is_away(self, seconds: float) -> None:
        self.api.away = True
        self.age = None
        self.behind = True
        self.time_passes(seconds)

    @precondition(lambda self: self.api.away)
    @rule()
    def the_api_server_is_back(self) -> None:
        self.api.away = False
        self._list()

    @rule(address=st.sampled_from((*OWN, *FLOATS, *WEB)), elsewhere=st.booleans())
    def somebody_takes_an_address(self, address: IPAddress, elsewhere: bool) -> None:
        self.robbed = True
        for each in self.account.enis.values():
            each.secondaries.discard(address)
        if elsewhere:
            self.account.enis[ELSEWHERE].secondaries.add(address)

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0]))
    def a_moment_passes(self, seconds: float) -> None:
        self.time_passes(seconds)

    @rule(seconds=st.sampled_from([60.0, 300.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.time.now + seconds
        for _ in range(20000):
            delay = self._step()
            delay = math.inf if delay is None else delay
            if self.time.now + delay > until:
                self.time.now = max(until, self.time.now)
                return
            self.time.now += delay
        pytest.fail("it spins")

    @invariant()
    def what_is_foreign_is_left_alone(self) -> None:
        assert {key: each.primary for key, each in self.account.enis.items()} == self.primaries
        assert FOREIGN[0] in self.account.enis[ENI].secondaries
        assert self.account.enis[ELSEWHERE].secondaries.issuperset(FOREIGN[1:])

    # The end: everything works again.

    def teardown(self) -> None:
        self.account.struck.clear()
        self.kill_in = None
        self.api.away = False
        for life in self.lives.values():
            life.written = True
            self.seen |= life.own
        self._list()
        for life in self.lives.values():
            if life.talks and not life.connected:
                life.connected = True
                self._state(life)
        for _ in range(4):
            self.time_passes(1800)
        self.wakeup.close()
        here = self.account.enis[ENI].secondaries
        for life in self.lives.values():
            self.every_address_is_here_or_is_somebody_elses(life, here)
        self.nothing_is_left_behind(here)

    def every_address_is_here_or_is_somebody_elses(self, life: Life, here: Collection[IPAddress]) -> None:
        known = life.own | (life.floats if life.connected else set())
        owners = {address: key for (_, address), key in self.core.owners.items()}
        items = {item.address: item for item in self.core.plan.items}
        for address in known:
            rivals = [each for each in self.lives.values() if address in each.held]
            assert address in owners, "wanted by nobody"
            assert owners[address] in {each.key for each in rivals}
            failure = items[address].failure
            if failure and failure.fault is Fault.ENI_FULL:
                assert len([one for one in here if one.version == address.version]) == self.account.room
                continue
            assert items[address].phase in (Phase.CONFIRMED, Phase.TAKEN, Phase.REFUSED)
            assert (address in here) is (items[address].phase is Phase.CONFIRMED)
            if address not in here:
                assert address in self.account.enis[ELSEWHERE].secondaries
        if life.connected:
            status = self.sessions.answers[life.key]
            assert status == self.core.statuses()[life.key], "the last status never reached the pod"
            alone = all(owners[address] == life.key for address in known)
            assert (status.state is ClaimState.ASSIGNED) is (alone and known <= set(here))

    def nothing_is_left_behind(self, here: Collection[IPAddress]) -> None:
        """Save what a living pod had once, and unless one that tells nobody of its addresses is there."""
        silent = {InjectedAgent.DIRECT_SIDECAR, *([InjectedAgent.NONE] if self.sweeping is RULES else [])}
        if any(life.agent in silent for life in self.lives.values()):
            return
        held = {address for life in self.lives.values() for address in life.held | life.had}
        # What a pod stated and no network-status that was seen names may be floating.
        records = self.disk.records.entries.items()
        floating = {address for (_, address), each in records if each.origin is Origin.CLAIM}
        assert set(here) & {*OWN, *WEB} <= held | floating


Node.TestCase.settings = settings(
    max_examples=settings().max_examples, stateful_step_count=40, derandomize=True
)
TestNode = Node.TestCase
