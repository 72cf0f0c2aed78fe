"""EC2 and the API server in memory, for the controller without its I/O.

Descriptions show ENIs as they were `lag` seconds ago. Every effect is immediate, but for attaching and
detaching, which take `delay` seconds, and for the node's report of the link, which takes as long again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.model.actions import (
    AssignPrefixes,
    Attach,
    Call,
    Create,
    Delete,
    DescribeAll,
    DescribeEnis,
    DescribeInstances,
    Detach,
    ListPods,
    Modify,
    Plan,
    ReadLimits,
    Resolve,
    UnassignPrefix,
)
from ipagent.controller.model.ec2_snapshot import (
    ATTACHED,
    ATTACHING,
    AVAILABLE,
    CLUSTER_TAG,
    DETACHING,
    Eni,
    Group,
    Limits,
    Subnet,
)
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import READY, Attachment, LinkStatus
from ipagent.controller.model.node_network import LinkSpec, NodeNetwork, Selector, Source, Term
from ipagent.controller.model.prefixes import Family
from ipagent.controller.model.writes import (
    AddFinalizer,
    ApplyAttachment,
    DeleteAttachment,
    PatchNode,
    PatchResources,
    RemoveFinalizer,
    Write,
)
from ipagent.controller.reconcile import ec2_answers, prefix_records, snapshot_updates
from ipagent.controller.reconcile.ec2_answers import (
    Answer,
    Done,
    Enis,
    Found,
    Prefixes,
    Refused,
    TypeLimits,
    Users,
)
from ipagent.controller.reconcile.ec2_error_conditions import Kind

ZONES = ("eu-central-1a", "eu-central-1b")
GROUP = Group("sg-oam", "oam", "vpc-1")
LABELS = {"node-group": "multus"}
KIND = "m5.xlarge"
RANGE = "10.10.0.0/16"
_REFUSALS = {
    Kind.SUBNET_FULL: "InsufficientFreeAddressesInSubnet",
    Kind.NO_BLOCKS: "InsufficientCidrBlocks",
}


def network(name: str, **fields: object) -> NodeNetwork:
    """Make a NodeNetwork for all nodes with LABELS, whose subnets have the network's name as tag."""
    defaults: dict[str, object] = {
        "link": LinkSpec(name),
        "selector": Selector(tuple(LABELS.items())),
        "subnets": (Term(tags=(("multus", name),)),),
        "groups": (Term(GROUP.id),),
    }
    return NodeNetwork(name, f"uid-{name}", **{**defaults, **fields})  # type: ignore[arg-type] # by name


@dataclass
class World:
    """Effects of calls and writes; `now` is monotonic, in seconds."""

    now: float = 1000.0
    delay: float = 0.0
    lag: Callable[[], float] = lambda: 0.0
    enis: dict[str, Eni] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    networks: dict[str, NodeNetwork] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    """Running instances, and their zones."""
    subnets: dict[str, tuple[Subnet, ...]] = field(default_factory=dict)
    """By network."""
    pods: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By MAC."""
    group: Group = GROUP
    limit: int = 4
    addresses: int = 15
    """IPv4 addresses and prefixes of an interface."""
    full: Kind = Kind.SUBNET_FULL
    """What EC2 answers where a subnet has too few single addresses."""
    blocks: int = 1000
    """Free prefixes of the subnets."""
    spare: int = 1000
    """Free addresses of the subnets that are in no free prefix."""
    ipv6_limit: int = 0
    refuse: Callable[[Call], Refused | None] = lambda _: None
    calls: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, tuple[Create, str]] = field(default_factory=dict)
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    past: list[tuple[float, dict[str, Eni]]] = field(default_factory=list)
    serial: int = 0
    links: bool = True

    # What people, kubelets and instances do.

    def add_node(self, name: str, zone: str = ZONES[0], **labels: str) -> Node:
        """Start an instance, whose kubelet registers."""
        instance = f"i-{self._number():08x}"
        self.instances[instance] = zone
        self._put(self._eni("subnet-nodes", zone, instance=instance, device=0))
        uid = f"uid-{name}-{self.serial}"
        node = Node(name, uid, instance, zone, KIND, labels or dict(LABELS))
        self.nodes[name] = node
        return node

    def add_network(self, found: NodeNetwork) -> None:
        """Create a NodeNetwork, and a subnet of its name in each zone."""
        self.networks[found.name] = found
        self.subnets[found.name] = tuple(
            Subnet(f"subnet-{found.name}-{zone[-1]}", zone, "vpc-1", 200, (RANGE,)) for zone in ZONES
        )

    def delete_network(self, name: str) -> None:
        """Delete a NodeNetwork."""
        if self.networks[name].held:
            self.networks[name] = replace(self.networks[name], deleting=True)
        else:
            del self.networks[name]

    def add_eni(self, zone: str = ZONES[0], **tags: str) -> Eni:
        """Create an ENI that this cluster did not make."""
        eni = self._eni("subnet-theirs", zone, tags={NO_MANAGE: "true", **tags})
        self._put(eni)
        return eni

    def grab_index(self, instance: str) -> None:
        """Attach one more ENI at the lowest free index, as the VPC CNI does."""
        taken = {eni.device for eni in self.enis.values() if eni.instance == instance}
        if len(taken) < self.limit:
            device = next(index for index in range(1, 32) if index not in taken)
            self._put(self._eni("subnet-nodes", self.instances[instance], instance=instance, device=device))

    def terminate(self, instance: str) -> None:
        """End an instance: its ENIs go with it or become available."""
        self.instances.pop(instance, None)
        for eni in list(self.enis.values()):
            if eni.instance == instance:
                gone = eni.delete_on_termination or eni.device == 0
                self._put(None if gone else _free(eni), eni.id)

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        until = self.now + seconds
        while self.due and min(at for at, _ in self.due) <= until:
            self.due.sort(key=lambda each: each[0])
            self.now, effect = max(self.now, self.due[0][0]), self.due.pop(0)[1]
            effect()
        self.now = until

    # What the controller does.

    def execute(self, call: Call) -> Answer:
        """Make a call; what it does is done whether the answer arrives or not."""
        self.calls[type(call).__name__] += 1
        if refused := self.refuse(call):
            return refused
        match call:
            case DescribeAll() | DescribeEnis() | DescribeInstances():
                return Enis(tuple(eni for eni in self._shown().values() if _asked(call, eni)))
            case Resolve():
                return Found(self.subnets.get(call.network, ()), (self.group,))
            case ReadLimits():
                return TypeLimits(
                    {
                        kind: Limits(self.limit, {0: self.limit}, self.addresses, self.ipv6_limit)
                        for kind in call.types
                    }
                )
            case ListPods():
                return Users({name: self.pods.get(mac, ()) for name, _, mac in call.asked})
            case Create() | Attach() | Detach() | Delete() | Modify() | AssignPrefixes() | UnassignPrefix():
                return self._change(call)
            case _:
                raise AssertionError(f"{call} is none of this world's")

    def _change(
        self, call: Create | Attach | Detach | Delete | Modify | AssignPrefixes | UnassignPrefix
    ) -> Answer:
        match call:
            case AssignPrefixes() | UnassignPrefix():
                return self._prefixes(call)
            case Create():
                return self._create(call)
            case Attach():
                return self._attach(call)
            case Detach():
                return self._detach(call)
            case _:
                return self._modify(call)

    def write(self, write: Write) -> None:
        """Write to the API server."""
        match write:
            case ApplyAttachment():
                before = self.attachments.get(write.name)
                made = Attachment(
                    write.name,
                    f"uid-{self._number()}",
                    write.node,
                    write.node_uid,
                    write.network,
                    write.instance,
                    write.link,
                    cni=write.cni,
                    report_pods=write.report_pods,
                )
                self.attachments[write.name] = (
                    replace(before, link=write.link, cni=write.cni, report_pods=write.report_pods)
                    if before
                    else made
                )
            case DeleteAttachment():
                if write.name in self.attachments:
                    self.attachments[write.name] = replace(self.attachments[write.name], deleting=True)
            case RemoveFinalizer("NodeNetwork"):
                self.networks.pop(write.name, None)
            case RemoveFinalizer():
                self.attachments.pop(write.name, None)
            case AddFinalizer():
                if write.name in self.networks:
                    self.networks[write.name] = replace(self.networks[write.name], held=True)
            case PatchNode():
                self._patch(write)
            case PatchResources():
                self._resources(write)

    def status(self, plan: Plan) -> None:
        """Write the statuses."""
        for name, status in plan.attachments.items():
            if name in self.attachments:
                self.attachments[name] = replace(self.attachments[name], status=status)
        for name, found in plan.networks.items():
            if name in self.networks:
                self.networks[name] = replace(self.networks[name], status=found.conditions)

    def _patch(self, write: PatchNode) -> None:
        node = self.nodes.get(write.name)
        if node is not None:
            labels = {**node.labels, **write.labels}
            kept = {key: value for key, value in labels.items() if value is not None}
            self.nodes[node.name] = replace(
                node, labels=kept, taints=node.taints if write.taints is None else write.taints
            )

    def _resources(self, write: PatchResources) -> None:
        node = self.nodes.get(write.name)
        if node is not None:
            found = {**node.advertised, **{key: (value or "",) * 2 for key, value in write.resources.items()}}
            kept = {key: each for key, each in found.items() if write.resources.get(key, "") is not None}
            self.nodes[node.name] = replace(node, advertised=kept)

    def _create(self, call: Create) -> Answer:
        if call.token in self.tokens:
            first, eni = self.tokens[call.token]
            if replace(first, owner=call.owner) != call:
                return Refused(Kind.MISMATCH, "CreateNetworkInterface", "IdempotentParameterMismatch")
            if eni in self.enis:
                return Enis((self.enis[eni],))
        zones = [each.zone for found in self.subnets.values() for each in found if each.id == call.subnet]
        if not zones:
            return Refused(Kind.OTHER, "CreateNetworkInterface", "InvalidSubnetID.NotFound")
        zone = zones[0]
        made = self._eni(call.subnet, zone, tags=dict(call.tags))
        ipv6 = frozenset(f"2001:db8::{number:x}" for number in range(1, call.ipv6_addresses + 1))
        made = replace(made, groups=frozenset(call.groups), addresses=ipv6)
        self.tokens[call.token] = (call, made.id)
        self._put(made)
        return Enis((made,))

    def _attach(self, call: Attach) -> Answer:
        eni = self.enis.get(call.eni)
        if eni is None:
            return Refused(Kind.ENI_GONE, "AttachNetworkInterface", f"{call.eni} does not exist")
        if call.instance not in self.instances:
            return Refused(Kind.INSTANCE_GONE, "AttachNetworkInterface", f"{call.instance} does not exist")
        if eni.state != AVAILABLE:
            return Refused(Kind.IN_USE, "AttachNetworkInterface", f"{call.eni} is in use")
        here = [each for each in self.enis.values() if each.instance == call.instance]
        if any((each.card, each.device) == (call.card, call.device) for each in here):
            return Refused(Kind.INDEX_TAKEN, "AttachNetworkInterface", f"device index {call.device}")
        if len(here) >= self.limit:
            return Refused(Kind.NO_SLOT, "AttachNetworkInterface", "AttachmentLimitExceeded")
        eni = replace(
            eni,
            instance=call.instance,
            attachment=f"eni-attach-{self._number()}",
            card=call.card,
            device=call.device,
            state=ATTACHING,
        )
        self._put(eni)
        self._later(self.delay, lambda: self._attached(eni.id, eni.attachment))
        return ec2_answers.Attachment(eni.attachment)

    def _attached(self, identifier: str, attachment: str) -> None:
        eni = self.enis.get(identifier)
        if eni is not None and (eni.attachment, eni.state) == (attachment, ATTACHING):
            self._put(replace(eni, state=ATTACHED))
            self._later(self.delay, lambda: self._report(eni))

    def _report(self, eni: Eni) -> None:
        if not self.links:
            return
        for name, each in self.attachments.items():
            if each.instance == eni.instance and each.status.mac == eni.mac:
                mtu = each.link.mtu or 9001
                self.attachments[name] = replace(
                    each, reported=LinkStatus(eni.mac, each.link.name, up=True, mtu=mtu)
                )
                return
        if eni.id in self.enis and self.enis[eni.id].state == ATTACHED:
            # The controller has not written the MAC yet.
            self._later(1.0, lambda: self._report(eni))

    def _detach(self, call: Detach) -> Answer:
        eni = next((each for each in self.enis.values() if each.attachment == call.attachment), None)
        if eni is None:
            return Refused(Kind.ATTACHMENT_GONE, "DetachNetworkInterface", f"{call.attachment}")
        self._put(replace(eni, state=DETACHING))
        self._later(self.delay, lambda: self._detached(eni))
        return Done()

    def _detached(self, eni: Eni) -> None:
        found = self.enis.get(eni.id)
        if found is not None and found.attachment == eni.attachment:
            self._put(_free(found))

    def _modify(self, call: Modify | Delete) -> Answer:
        eni = self.enis.get(call.eni)
        if eni is None:
            return Refused(Kind.ENI_GONE, type(call).__name__, f"{call.eni} does not exist")
        if isinstance(call, Delete):
            if eni.state != AVAILABLE:
                return Refused(Kind.IN_USE, "DeleteNetworkInterface", f"{call.eni} is in use")
            self._put(None, eni.id)
            return Done()
        self._put(snapshot_updates._modified(eni, call))  # noqa: SLF001 - what EC2 does is what the snapshot shows
        return Done()

    def _prefixes(self, call: AssignPrefixes | UnassignPrefix) -> Answer:
        eni = self.enis.get(call.eni)
        if eni is None:
            return Refused(Kind.ENI_GONE, call.actions[0], f"{call.eni} does not exist")
        if isinstance(call, UnassignPrefix):
            if call.prefix not in prefix_records.held(eni):
                return Refused(Kind.OTHER, call.actions[0], "Some of the prefixes are not assigned")
            self._put(prefix_records.changed(eni, remove=(call.prefix,)))
            return Done()
        ipv4 = call.family is Family.IPV4
        if ipv4 and eni.ipv4 + call.count > self.addresses:
            return Refused(Kind.ENI_FULL, call.actions[0], "PrivateIpAddressLimitExceeded")
        if call.count > (self.spare if call.single else self.blocks):
            kind = self.full if call.single else Kind.NO_BLOCKS
            return Refused(kind, call.actions[0], _REFUSALS[kind])
        if call.single:
            self.spare -= call.count
        else:
            self.blocks -= call.count
        make = _lone if call.single else _block
        made = tuple(make(self._number(), ipv4=ipv4) for _ in range(call.count))
        self._put(prefix_records.changed(eni, add=made))
        return Prefixes(made)

    def _eni(
        self,
        subnet: str,
        zone: str,
        *,
        tags: dict[str, str] | None = None,
        instance: str = "",
        device: int | None = None,
    ) -> Eni:
        number = self._number()
        return Eni(
            id=f"eni-{number:08x}",
            address=f"10.0.{number >> 8 & 255}.{number & 255}",
            mac=f"02:00:00:00:{number >> 8 & 255:02x}:{number & 255:02x}",
            subnet=subnet,
            zone=zone,
            vpc="vpc-1",
            tags=tags or {},
            instance=instance,
            attachment=f"eni-attach-{number}" if instance else "",
            state=ATTACHED if instance else AVAILABLE,
            device=device,
        )

    def _put(self, eni: Eni | None, identifier: str = "") -> None:
        self.past.append((self.now, dict(self.enis)))
        del self.past[:-50]
        if eni is None:
            self.enis.pop(identifier, None)
        else:
            self.enis[eni.id] = eni

    def _shown(self) -> dict[str, Eni]:
        when = self.now - self.lag()
        return next((enis for until, enis in self.past if when < until), self.enis)

    def _later(self, seconds: float, effect: Callable[[], None]) -> None:
        if seconds:
            self.due.append((self.now + seconds, effect))
        else:
            effect()

    def _number(self) -> int:
        self.serial += 1
        return self.serial


def adopting(name: str, **fields: object) -> NodeNetwork:
    """Make a NodeNetwork that adopts ENIs with the tags multus=<name> and Zone=<the node's zone>."""
    return network(
        name,
        source=Source.ADOPT,
        subnets=(),
        groups=(),
        interface_tags=(("Zone", "${zone}"), ("multus", name)),
        **fields,
    )


def _free(eni: Eni) -> Eni:
    return replace(
        eni, instance="", attachment="", state=AVAILABLE, device=None, card=0, delete_on_termination=False
    )


def _asked(call: DescribeAll | DescribeEnis | DescribeInstances, eni: Eni) -> bool:
    if isinstance(call, DescribeAll):
        return not call.vpcs or eni.vpc in call.vpcs
    return eni.id in call.enis if isinstance(call, DescribeEnis) else eni.instance in call.instances


def _block(number: int, *, ipv4: bool) -> str:
    return f"10.10.{number >> 4 & 255}.{(number & 15) * 16}/28" if ipv4 else f"2001:db8:0:0:{number:x}::/80"


def _lone(number: int, *, ipv4: bool) -> str:
    return f"10.11.{number >> 8 & 255}.{number & 255}/32" if ipv4 else f"2001:db8:0:1::{number:x}/128"


def condition(world: World, name: str, kind: str = READY) -> tuple[str, str, str]:
    """Return status, reason and message of a condition of a NodeAttachment, as the API server has it."""
    found = world.attachments[name].status.conditions[kind]
    return found.status, found.reason, found.message


def ours(world: World) -> list[Eni]:
    """Return the ENIs that are tagged as this cluster's."""
    return [eni for eni in world.enis.values() if eni.tags.get(CLUSTER_TAG) == "prod"]
