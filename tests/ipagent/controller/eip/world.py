"""EC2's Elastic IPs and pods in memory, and a leading replica without its I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from common.elastic_ips import parse_claims
from ipagent.controller.eip.controller import EipController
from ipagent.controller.model.actions import Call
from ipagent.controller.model.condition import Condition
from ipagent.controller.model.eip_calls import (
    Addresses,
    Associate,
    Associated,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    EipPlan,
    Holders,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.eips import EipPod, ElasticIp, Grant, Grants
from ipagent.controller.model.node import Node
from ipagent.controller.model.state import Releases, State
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Answer, Done, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests.ipagent.controller.leader import nothing

SIP = (("pool", "sip"),)
GRANTS: dict[str, Grant] = {
    "voice": Grant({"sip": SIP}, frozenset({"eipalloc-0000000a"})),
    "media": Grant({"rtp": (("pool", "rtp"),)}),
}
NODES = ("n1", "n2", "n3")


@dataclass
class EipWorld:
    """Effects of calls; every node has one ENI for pods. `now` is monotonic, in seconds."""

    now: float = 1000.0
    eips: dict[str, ElasticIp] = field(default_factory=dict)
    pods: dict[str, EipPod] = field(default_factory=dict)
    assigned: dict[str, str] = field(default_factory=dict)
    """By private address: the node whose ENI has it."""
    gateway: bool = True
    refuse: Callable[[Call], Refused | None] = lambda _: None
    calls: Counter[str] = field(default_factory=Counter)
    made: list[Call] = field(default_factory=list)
    nodes: dict[str, Node] = field(
        default_factory=lambda: {
            name: Node(name, f"uid-{name}", f"i-{name}", "eu-central-1a") for name in NODES
        }
    )
    serial: int = 0

    def add_eips(self, count: int, **tags: str) -> list[str]:
        """Allocate addresses with these tags."""
        found = []
        for _ in range(count):
            number = len(self.eips) + 1
            identifier = f"eipalloc-{number:08x}"
            self.eips[identifier] = ElasticIp(identifier, f"198.51.100.{number}", dict(tags))
            found.append(identifier)
        return found

    def run_pod(self, key: str, claims: str, private: str = "", node: str = "n1", **fields: object) -> EipPod:
        """Start a pod; its agent has assigned the address of net1, which Multus reports."""
        namespace, name = key.split("/")
        self.serial += 1
        pod = EipPod(
            namespace,
            name,
            uid=f"uid-{self.serial}",
            node=node,
            created=f"{self.serial:06}",
            claims=parse_claims(claims),
            addresses={"net1": private} if private else {},
            **fields,  # type: ignore[arg-type] # by name
        )
        self.pods[key] = pod
        if private:
            self.assigned[private] = node
        return pod

    def end_pod(self, key: str) -> None:
        """Delete a pod; its address stays on the ENI, as the agent leaves it."""
        del self.pods[key]

    def unassign(self, private: str) -> None:
        """Unassign an address: EC2 ends what is associated with it."""
        self.assigned.pop(private, None)
        for eip in self.eips.values():
            if eip.private == private:
                self.eips[eip.id] = replace(eip, association="", eni="", private="")

    def move(self, private: str, node: str) -> None:
        """Move an address to another node's ENI; its Elastic IP follows."""
        self.assigned[private] = node
        for eip in self.eips.values():
            if eip.private == private:
                self.eips[eip.id] = replace(eip, eni=f"eni-{node}")

    def public(self, private: str) -> str:
        """Return the Elastic IP of an address."""
        return next((eip.id for eip in self.eips.values() if eip.private == private), "")

    def execute(self, call: Call) -> Answer:
        """Make a call; what it does is done whether the answer arrives or not."""
        self.calls[type(call).__name__] += 1
        self.made.append(call)
        if refused := self.refuse(call):
            return refused
        match call:
            case DescribeAddresses():
                return Addresses(tuple(self.eips.values()))
            case DescribeHolders():
                there = {each: node for each in call.addresses if (node := self.assigned.get(each))}
                enis = {each: (f"eni-{node}", f"i-{node}") for each, node in there.items()}
                return Holders({key: each for key, each in enis.items() if each[1] in call.instances})
            case TagEip():
                eip = self.eips[call.eip]
                self.eips[eip.id] = replace(eip, tags={**eip.tags, **dict(call.tags)})
            case UntagEip():
                eip = self.eips[call.eip]
                left = {key: value for key, value in eip.tags.items() if (key, value) not in call.tags}
                self.eips[eip.id] = replace(eip, tags=left)
            case Associate():
                return self._associate(call)
            case Disassociate():
                eip = self.eips[call.eip]
                if eip.association != call.association:
                    return Refused(Kind.ASSOCIATION_GONE, "DisassociateAddress", "does not exist")
                self.eips[eip.id] = replace(eip, association="", eni="", private="")
            case _:
                raise AssertionError(call)
        return Done()

    def _associate(self, call: Associate) -> Answer:
        eip = self.eips[call.eip]
        node = call.eni.removeprefix("eni-")
        if self.assigned.get(call.private) != node:
            return Refused(Kind.NO_SUCH_ADDRESS, "AssociateAddress", "is not assigned")
        if not self.gateway:
            return Refused(Kind.NO_GATEWAY, "AssociateAddress", "Gateway.NotAttached")
        other = self.public(call.private)
        if not call.move and (eip.association or other) and eip.private != call.private:
            return Refused(Kind.ASSOCIATED, "AssociateAddress", "Resource.AlreadyAssociated")
        if other and other != eip.id:
            self.eips[other] = replace(self.eips[other], association="", eni="", private="")
        self.serial += 1
        association = f"eipassoc-{self.serial}"
        self.eips[eip.id] = replace(eip, association=association, eni=call.eni, private=call.private)
        return Associated(association)


@dataclass
class EipLeader:
    """Decides, and calls until nothing is left to do. `between` is called between effect and answer."""

    world: EipWorld
    grants: Grants = field(default_factory=lambda: GRANTS)
    releases: Releases = Releases.ON
    between: Callable[[object], None] = nothing

    def __post_init__(self) -> None:
        self.controller = Controller(State("prod", releases=self.releases))
        self.eips = EipController(self.grants)
        self.due = 0.0

    def turn(self) -> EipPlan:
        """Decide once, and do all of it."""
        world = self.world
        self.controller.observe(world.nodes, {}, {})
        self.eips.observe(dict(world.pods))
        plan = self.eips.plan(self.controller.state, world.now)
        for key, condition in plan.conditions.items():
            self.between(condition)
            if key in world.pods:
                world.pods[key] = replace(world.pods[key], condition=condition)
        started, due = self.controller.start(plan.calls, world.now)
        for call in started:
            self.eips.started(call, world.now)
            answer = world.execute(call)
            self.between(call)
            self.controller.answered(call, answer, world.now)
            self.eips.answered(call, answer, world.now)
        self.progressed = bool(started)
        self.due = min(plan.due, due)
        return plan

    def run(self, seconds: float) -> None:
        """Go on for so many seconds of the world's time."""
        until = self.world.now + seconds
        for _ in range(10_000):
            self.turn()
            if self.world.now >= until:
                return
            pause = 0.05 if self.progressed else max(0.05, self.due - self.world.now)
            self.world.now += min(pause, until - self.world.now)
        raise AssertionError("it never comes to rest")

    def condition(self, key: str) -> Condition:
        """Return a pod's condition."""
        found = self.world.pods[key].condition
        assert found is not None
        return found
