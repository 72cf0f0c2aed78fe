"""EC2's addresses, NodeAttachments and node agents in memory, and a leading replica without its I/O.

Every node has one ENI of the network, as the controller has created it. `now` is monotonic, in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ipagent.assign.addresses import IPAddress, parse_address, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.holders import NO_MANAGE
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import Action, RelayAnswer, RelayCall, RelayRequests
from ipagent.controller.model.actions import Call
from ipagent.controller.model.ec2_snapshot import (
    ATTACHED,
    CLUSTER_TAG,
    NETWORK_TAG,
    NODE_UID_TAG,
    Ec2Snapshot,
    Eni,
)
from ipagent.controller.model.node_attachment import Attachment, AttachmentStatus
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.model.relay import RelayPlan
from ipagent.controller.model.relay_calls import (
    AssignAddresses,
    Assigned,
    DescribeAttached,
    DescribeSubnetHolders,
    Interfaces,
    LookUpHolders,
    UnassignAddresses,
)
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Answer, Done, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.relay.controller import RelayController
from tests.ipagent.controller.leader import nothing

SUBNET = "subnet-oam"
RANGES = ("10.20.0.0/16", "2001:db8:20::/64")
WALL = 1_790_000_000.0
"""Seconds since 1970 at `now` 0."""
SESSION = "s1"


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    """Read addresses."""
    return tuple(map(parse_address, texts))


def eni_of(node: str) -> str:
    """Return the id of a node's ENI."""
    return f"eni-{node}"


def attachment_of(node: str) -> str:
    """Return the name of its NodeAttachment."""
    return f"{node}.oam"


def cloud_eni(node: str, **fields: object) -> Eni:
    """Return a node's ENI as the controller knows it."""
    tags = {
        NO_MANAGE: "true",
        CLUSTER_TAG: "prod",
        NETWORK_TAG: "oam",
        NODE_UID_TAG: f"uid-{node}",
    }
    found = Eni(
        eni_of(node),
        f"02:00:00:00:00:{len(node):02x}",
        SUBNET,
        "eu-central-1a",
        tags=tags,
        instance=f"i-{node}",
        attachment=f"eni-attach-{node}",
        state=ATTACHED,
        device=1,
        address=f"10.20.255.{sum(map(ord, node)) % 250}",
    )
    return replace(found, **fields)  # type: ignore[arg-type] # by name


def attachment(node: str, **fields: object) -> Attachment:
    """Return a node's NodeAttachment, whose ENI the controller has attached."""
    status = AttachmentStatus(eni=eni_of(node), attachment=f"eni-attach-{node}", subnet=SUBNET, cidrs=RANGES)
    found = Attachment(
        attachment_of(node),
        f"uid-{node}.oam",
        node,
        f"uid-{node}",
        "oam",
        f"i-{node}",
        LinkSpec("oam"),
        status,
    )
    return replace(found, **fields)  # type: ignore[arg-type] # by name


def details(node: str, *held: str, **fields: object) -> EniDetails:
    """Return a node's ENI as EC2 describes it."""
    found = EniDetails(
        eni_of(node),
        parse_address(cloud_eni(node).address),
        tuple(sorted(addresses(*held), key=sort_key)),
        instance_id=f"i-{node}",
        device_number=1,
        subnet_id=SUBNET,
        vpc_id="vpc-1",
        no_manage=True,
    )
    return replace(found, **fields)  # type: ignore[arg-type] # by name


@dataclass
class RelayWorld:
    """Effects of calls; what is written to the API server is seen at once."""

    now: float = 1000.0
    enis: dict[str, EniDetails] = field(default_factory=dict)
    known: dict[str, Eni] = field(default_factory=dict)
    """As the controller has described them."""
    attachments: dict[str, Attachment] = field(default_factory=dict)
    room: int = 49
    refuse: Callable[[Call], Refused | None] = lambda _: None
    calls: Counter[str] = field(default_factory=Counter)
    made: list[Call] = field(default_factory=list)
    serial: int = 0
    writes: int = 0

    def add_node(self, name: str, *held: str) -> str:
        """Have a node whose ENI is attached; returns the node's name."""
        self.enis[eni_of(name)] = details(name, *held)
        self.known[eni_of(name)] = cloud_eni(name)
        self.attachments[attachment_of(name)] = attachment(name)
        return name

    def ask(self, node: str, *calls: RelayCall, session: str = SESSION) -> None:
        """Replace what a node agent asks for."""
        self.put(node, requests=RelayRequests(session, WALL + self.now, calls))

    def put(self, node: str, **fields: object) -> None:
        """Change a NodeAttachment."""
        name = attachment_of(node)
        self.attachments[name] = replace(self.attachments[name], **fields)  # type: ignore[arg-type] # by name

    def call(
        self, node: str, action: Action, *texts: str, eni: str = "", reassign: bool = False
    ) -> RelayCall:
        """Return a call with an id of its own."""
        self.serial += 1
        return RelayCall(self.serial, action, eni or eni_of(node), addresses(*texts), reassign)

    def answers(self, node: str) -> Mapping[int, RelayAnswer]:
        """Return what the NodeAttachment says."""
        found = self.attachments[attachment_of(node)]
        return found.responses.of(found.requests.session) if found.requests else {}

    def held(self, node: str) -> set[str]:
        """Return the secondary addresses of a node's ENI."""
        return {str(each) for each in self.enis[eni_of(node)].secondaries}

    def execute(self, call: Call) -> Answer:
        """Make a call; what it does is done whether the answer arrives or not."""
        self.calls[type(call).__name__] += 1
        self.made.append(call)
        if refused := self.refuse(call):
            return refused
        match call:
            case DescribeAttached():
                return Interfaces(tuple(eni for eni in self.enis.values() if eni.eni_id in call.enis))
            case LookUpHolders():
                asked = {address for _, address in call.places}
                subnets = {subnet for subnet, _ in call.places}
                assert len(asked) + len(subnets) <= 200
                return Interfaces(
                    tuple(
                        eni
                        for eni in self.enis.values()
                        if eni.subnet_id in subnets and asked.intersection(eni.addresses)
                    )
                )
            case DescribeSubnetHolders():
                return Interfaces(
                    tuple(
                        eni
                        for eni in self.enis.values()
                        if eni.subnet_id == call.subnet and any(map(eni.holds, call.addresses))
                    )
                )
            case AssignAddresses():
                return self._assign(call)
            case UnassignAddresses():
                return self._unassign(call)
            case _:
                raise AssertionError(f"{call} is none of this world's")

    def _assign(self, call: AssignAddresses) -> Answer:
        eni, wanted = self.enis[call.eni], set(call.addresses)
        others = [
            each
            for each in self.enis.values()
            if each.eni_id != eni.eni_id and each.subnet_id == eni.subnet_id and any(map(each.holds, wanted))
        ]
        if others and not (call.reassign and call.addresses[0].version == 4):
            return refused_held(call)
        if any(wanted.intersection(each.primaries) for each in others):
            return refused_held(call)
        if len(wanted.union(eni.secondaries)) > self.room:
            return refused(call, Fault.ENI_FULL, "PrivateIpAddressLimitExceeded")
        for each in others:
            self._set(each, set(each.secondaries) - wanted)
        self._set(eni, wanted.union(eni.secondaries))
        return Assigned(frozenset(wanted))

    def _unassign(self, call: UnassignAddresses) -> Answer:
        eni = self.enis[call.eni]
        if not set(call.addresses) <= set(eni.secondaries):
            return refused(call, Fault.NOT_HELD, "Some are not assigned to interface")
        self._set(eni, set(eni.secondaries) - set(call.addresses))
        return Done()

    def _set(self, eni: EniDetails, secondaries: set[IPAddress]) -> None:
        self.enis[eni.eni_id] = replace(eni, secondaries=tuple(sorted(secondaries, key=sort_key)))


def refused(call: Call, fault: Fault, text: str, kind: Kind = Kind.OTHER) -> Refused:
    """Refuse a call."""
    (action,) = call.actions
    return Refused(kind, action, text, Failure(fault, text))


def refused_held(call: Call) -> Refused:
    """Refuse a call because another ENI has one of its addresses."""
    return refused(call, Fault.HELD_ELSEWHERE, "InvalidParameterValue: move is not allowed")


def throttled(call: Call) -> Refused:
    """Refuse a call because the account's limit is used up."""
    return refused(call, Fault.THROTTLED, "RequestLimitExceeded", Kind.THROTTLED)


@dataclass
class RelayLeader:
    """Decides, answers and calls. `between` is called between effect and answer, `before` before a write.

    A call's answer takes `latency` seconds.
    """

    world: RelayWorld
    between: Callable[[object], None] = nothing
    before: Callable[[object], None] = nothing
    latency: float = 0.0
    flying: list[tuple[float, Call, Answer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.controller = Controller(State("prod", ec2=Ec2Snapshot(read_at=self.world.now)))
        self.relay = RelayController()
        self.due = 0.0

    def turn(self) -> RelayPlan:
        """Decide once, and do all of it."""
        world = self.world
        self._land()
        ec2 = replace(self.controller.state.ec2, enis=dict(world.known))
        self.controller.state = replace(self.controller.state, ec2=ec2, attachments=dict(world.attachments))
        plan = self.relay.plan(self.controller.state, world.now, WALL + world.now)
        for name, found in plan.responses.items():
            self.before(found)
            world.writes += 1
            world.attachments[name] = replace(world.attachments[name], responses=found)
        calls = sorted(plan.calls, key=lambda call: call.rank)
        started, due = self.controller.start(calls, world.now)
        for call in started:
            self.relay.started(call, world.now)
            answer = world.execute(call)
            self.between(call)
            self.flying.append((world.now + self.latency, call, answer))
        self.due = min(plan.due, due, *(at for at, _, _ in self.flying), float("inf"))
        self.progressed = bool(started or plan.responses or plan.answers)
        return plan

    def _land(self) -> None:
        for at, call, answer in sorted(self.flying, key=lambda each: each[0]):
            if at <= self.world.now:
                self.controller.answered(call, answer, self.world.now)
                self.relay.answered(call, answer, self.world.now)
        self.flying = [each for each in self.flying if each[0] > self.world.now]

    def run(self, seconds: float, step: Callable[[], bool] = lambda: False) -> None:
        """Go on for so many seconds of the world's time; `step` lets node agents act: did they?"""
        until = self.world.now + seconds
        for _ in range(100_000):
            acted = step()
            self.turn()
            if self.world.now >= until:
                return
            pause = 0.01 if self.progressed or acted else min(max(0.01, self.due - self.world.now), 0.1)
            self.world.now += min(pause, until - self.world.now)
        raise AssertionError("it never comes to rest")
