"""A node agent's engine with the real relay, and a controller that may be silent; nothing really waits.

EC2 has what was carried out. A call that has begun is carried out although it was withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any, cast

from common.kube.client import Client
from common.kube.errors import HangingWrite
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import HEALING
from ipagent.assign.engine import AddressEngine
from ipagent.assign.errors import Ec2Error
from ipagent.assign.placement import Placement
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.call_relay import Action, RelayAnswer, RelayAnswers, RelayCall, RelayRequests
from ipagent.call_relay_status import read_requests
from ipagent.node.central.attachments import RelayAttachment
from ipagent.node.central.client import RelayClient
from ipagent.node.central.relay import CallRelay
from ipagent.node_network_api import ATTACHMENTS
from tests.ipagent.fakes import Lines, Time, check_assign, check_unassign, ip, placement

TICK = 0.25
BEGINS = 0.25
"""Seconds until the controller begins a call."""
TIMEOUT = 15.0
"""Seconds after which a write that hangs has failed."""


def eni_of(number: int) -> Eni:
    """Return an ENI of the node, in a subnet of its own."""
    cidr = ip_network(f"10.20.{number}.0/24")
    return Eni(f"eni-{number}", f"02:aa:00:00:00:{number:02x}", number, f"subnet-{number}", (cidr,))


def name_of(number: int) -> str:
    """Return the name of its NodeAttachment."""
    return f"n1.{number}"


@dataclass
class Started:
    """A call that the controller has begun: when, and when it is carried out."""

    name: str
    session: str
    call: RelayCall
    at: float


@dataclass
class SimulatedController:
    """Carries out what is requested, unless it is silent: for all (`away`), or for some NodeAttachments."""

    time: Time
    enis: int
    held: dict[str, set[IPAddress]] = field(default_factory=dict)
    """ENI -> its secondary addresses; that of another node is eni-99."""
    away: bool = False
    silent: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    """NodeAttachments whose writes hang."""
    latency: dict[str, float] = field(default_factory=dict)
    refused: set[IPAddress] = field(default_factory=set)
    requests: dict[str, RelayRequests] = field(default_factory=dict)
    attachments: dict[str, RelayAttachment] = field(default_factory=dict)
    answers: dict[tuple[str, int], RelayAnswer] = field(default_factory=dict)
    seen: dict[tuple[str, int], float] = field(default_factory=dict)
    started: dict[tuple[str, int], Started] = field(default_factory=dict)
    writes: int = 0
    moved: list[IPAddress] = field(default_factory=list)
    """What was taken off another ENI."""

    def __post_init__(self) -> None:
        for number in range(1, self.enis + 1):
            eni = eni_of(number)
            found = RelayAttachment(
                name_of(number), "i-1", eni.id, eni.subnet_id, eni.subnet_cidrs, mac=eni.mac, device=number
            )
            self.attachments[found.name] = found
            self.held[eni.id] = set()
        self.held["eni-99"] = set()

    # What the relay has of a client and an informer.

    synced = True

    def items(self) -> Mapping[str, RelayAttachment]:
        return self.attachments

    def apply(self, path: str, what: str, body: Mapping[str, Any], **_: object) -> None:
        name = path.removeprefix(f"{ATTACHMENTS}/").removesuffix("/status")
        if name in self.hanging:
            self.advance(TIMEOUT)
            raise HangingWrite(f"cannot {what}: it answers reads")
        requests = read_requests(body["status"])
        assert requests is not None
        self.writes += 1
        self.requests[name] = requests
        self._show(name)

    # Time.

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Let time go by until the condition is met; returns whether it is."""
        end = self.time.now + seconds
        while not until():
            if self.time.now >= end:
                return False
            self.advance(min(TICK, end - self.time.now))
        return True

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        end = self.time.now + seconds
        while True:
            self._work()
            if self.time.now >= end:
                return
            self.time.now = min(end, self.time.now + TICK)

    def _work(self) -> None:
        now = self.time.now
        for name, requests in self.requests.items():
            if self.away or name in self.silent:
                continue
            for call in requests.calls:
                key = requests.session, call.id
                if key in self.answers or key in self.started:
                    continue
                if now - self.seen.setdefault(key, now) >= BEGINS and requests.expired(now) is None:
                    at = now + self.latency.get(name, 0.0)
                    self.started[key] = Started(name, requests.session, call, at)
        for key, each in [*self.started.items()]:
            if each.at <= now and not (self.away or each.name in self.silent):
                del self.started[key]
                self.answers[key] = self._made(each.call)
                self._show(each.name)

    def _show(self, name: str) -> None:
        requests = self.requests[name]
        keys = [(requests.session, call.id) for call in requests.calls]
        found = tuple(self.answers[key] for key in keys if key in self.answers)
        shown = RelayAnswers(requests.session, found)
        self.attachments[name] = replace(self.attachments[name], responses=shown)

    def _made(self, call: RelayCall) -> RelayAnswer:
        try:
            return self._carried_out(call)
        except Ec2Error as error:
            return RelayAnswer(call.id, failure=error.failure)

    def _carried_out(self, call: RelayCall) -> RelayAnswer:
        wanted = call.addresses
        match call.change:
            case Assign() as change:
                check_assign(change, self.held, self.refused, (), room=49)
                for eni_id, there in self.held.items():
                    if eni_id != call.eni and there & {*wanted}:
                        self.moved += there & {*wanted}
                        there -= {*wanted}
                self.held[call.eni] |= {*wanted}
                return RelayAnswer(call.id, frozenset(wanted))
            case Unassign() as change:
                check_unassign(change, self.held[call.eni])
                self.held[call.eni] -= {*wanted}
                return RelayAnswer(call.id)
        if call.action is Action.DESCRIBE:
            return RelayAnswer(call.id, interfaces=(self.details(call.eni),))
        found = (self.details(eni_id) for eni_id, there in self.held.items() if there & {*wanted})
        return RelayAnswer(call.id, interfaces=tuple(found))

    def details(self, eni_id: str) -> EniDetails:
        """Describe an ENI."""
        held = tuple(sorted(self.held[eni_id], key=sort_key))
        ours = eni_id != "eni-99"
        return EniDetails(
            eni_id,
            ip("10.20.0.9"),
            held,
            instance_id="i-1" if ours else "i-9",
            device_number=1,
            no_manage=True,
        )


class SimulatedRelay(CallRelay):
    """The relay, whose waits let the controller's time go by."""

    def __init__(self, controller: SimulatedController) -> None:
        time = controller.time
        super().__init__(cast(Client, controller), "n1", Lines().log, time.timing, time.clock)
        self._informer = cast(Any, controller)
        self._wait = controller.wait  # type: ignore[method-assign]


class SimulatedNode:
    """The engine of one node agent. `wanted` are the addresses of its pods, by ENI."""

    def __init__(self, controller: SimulatedController) -> None:
        self.controller = controller
        self.wanted: dict[IPAddress, int] = {}
        self.lines = Lines()
        self.longest = 0.0
        self.start()

    def start(self) -> None:
        """Begin as another run, which knows nothing of what was asked before."""
        time = self.controller.time
        self.relay = SimulatedRelay(self.controller)
        self.client = RelayClient(self.relay, time.timing)
        cloud = cast(Cloud, _WithMetadata(self.client, self.controller))
        self.reconciler = Reconciler(cloud, timing=time.timing, log=self.lines.log)
        self.reconciler.plan = replace(self.reconciler.plan, retried=HEALING)
        self.engine = AddressEngine(self.reconciler, cloud, time.timing, self.lines.log)
        self.desire()

    def desire(self) -> None:
        """Pass on what is wanted, and release what was assigned and is not wanted any more."""
        before = self.reconciler.assigned(self.reconciler.plan.items)
        placements = [_placed(address, number) for address, number in self.wanted.items()]
        self.reconciler.set_desired(placements)
        kept = {(each.eni.id, each.holding.address) for each in placements}
        self.engine.releases.enqueue(before - kept, kept)

    def run(self, seconds: float) -> None:
        """Let the loop go round for so many seconds, with a turn at least each second."""
        time = self.controller.time
        end = time.now + seconds
        while time.now < end:
            with self._turn():
                delay = self.engine.step()
            # The loop goes round without a pause only if there is something to do.
            pause = TICK if delay == 0 else 1.0 if delay is None else min(delay, 1.0)
            self.controller.advance(max(0.05, min(pause, end - time.now)))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        begun = self.controller.time.now
        yield
        self.longest = max(self.longest, self.controller.time.now - begun)


def _placed(address: IPAddress, number: int) -> Placement:
    # Those of even numbers may be taken from other ENIs.
    return placement(str(address), eni_of(number), takeover=int(address) % 2 == 0)


class _WithMetadata:
    """The client beside IMDS, which shows at once what EC2 has."""

    def __init__(self, client: RelayClient, controller: SimulatedController) -> None:
        self._controller = controller
        self.assign, self.unassign, self.describe = client.assign, client.unassign, client.describe
        self.holders, self.prefix_holders = client.holders, client.prefix_holders

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress]:
        assert versions
        return frozenset({*self._controller.held[eni.id], ip("10.20.0.9")})

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        raise AssertionError(f"{macs} need no look, {fresh}")
