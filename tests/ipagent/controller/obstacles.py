"""A world in which nearly everything goes wrong for a while: obstacles that begin, and all end.

A node's `links` reports what the node has, as it does in reality: the interface while it is attached, with
the name and the MTU of the NodeAttachment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from common.kube.errors import ApiError
from ipagent.controller.model.actions import Attach, Call, Create, DescribeAll, Detach, Resolve
from ipagent.controller.model.ec2_snapshot import ATTACHED, AVAILABLE, CLUSTER_TAG, DETACHING, Eni
from ipagent.controller.model.node_attachment import LinkStatus
from ipagent.controller.model.node_network import NodeNetwork, Term
from ipagent.controller.model.prefixes import CniSpec, Family, PrefixSpec
from ipagent.controller.reconcile.ec2_answers import Answer, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests.ipagent.controller.loop_rig import LoopRig
from tests.ipagent.controller.prefix_world import PrefixWorld
from tests.ipagent.controller.world import LABELS, ZONES, adopting, network

NODES = ("n1", "n2", "ip-10-0-0-3.eu-central-1.compute.internal")
OURS = ("oam", "sig")
"""Networks that create an ENI for each node."""
LENT = "out"
"""The network that adopts one ENI in each zone."""
ELSEWHERE = "i-0e15ee1e"


@dataclass
class HardWorld(PrefixWorld):
    """`blind` nodes report nothing of their interfaces."""

    random: Random = field(default_factory=lambda: Random(0))
    blind: set[str] = field(default_factory=set)
    late: float = 0.0
    """Seconds after its creation in which an ENI is shown without tags."""
    born: dict[str, float] = field(default_factory=dict)
    twice: list[tuple[str, str]] = field(default_factory=list)
    """Nodes' UIDs and networks that had two ENIs attached at once."""

    def execute(self, call: Call) -> Answer:
        """Make a call, and see whether a node has two ENIs of a network now."""
        before = set(self.enis)
        answer = super().execute(call)
        self.born |= dict.fromkeys(set(self.enis) - before, self.now)
        there = Counter(
            eni.key for eni in self.enis.values() if eni.instance and eni.tags.get(CLUSTER_TAG) == "prod"
        )
        self.twice += [key for key, count in there.items() if count > 1]
        return answer

    def _shown(self) -> dict[str, Eni]:
        return {
            name: replace(eni, tags={}) if self.now - self.born.get(name, -1e9) < self.late else eni
            for name, eni in super()._shown().items()
        }

    def report(self) -> None:
        """Report pools and interfaces."""
        super().report()
        by_mac = {eni.mac: eni for eni in self.enis.values()}
        for name, each in self.attachments.items():
            eni = by_mac.get(each.status.mac)
            if not each.status.mac or each.node in self.blind or each.instance not in self.instances:
                continue
            there = eni is not None and eni.instance == each.instance and eni.state == ATTACHED
            link = LinkStatus(each.status.mac, message="no interface has the MAC")
            if there:
                link = LinkStatus(each.status.mac, each.link.name, up=True, mtu=each.link.mtu or 9001)
            if link != each.reported:
                self.attachments[name] = replace(each, reported=link)

    def _report(self, eni: Eni) -> None:
        """Leave it to `report`, which runs all the time."""


class Trouble:
    """A loop in a hard world, its nodes and networks, and what may happen to them.

    An obstacle is a method without underscore: it begins now, and returns how it ends.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = HardWorld(delay=self.random.choice([0.0, 1.0, 4.0]), limit=6, random=self.random)
        self.world.lag = lambda: 0.0
        self.theirs = self.world.add_eni(**{CLUSTER_TAG: "test", "multus-eni.io/network": "oam"})
        self.lent = [self.world.add_eni(zone, Zone=zone, multus=LENT) for zone in ZONES]
        spec = PrefixSpec(1, 0, 2, CniSpec((Family.IPV4,)))
        self.specs = {
            "oam": network("oam", source_dest_check=False),
            "sig": network("sig", prefixes=spec),
            LENT: adopting(LENT),
        }
        for each in self.specs.values():
            self.world.add_network(each)
        for name in NODES:
            self._join(name)
        self.rig = LoopRig(self.world, answer=self._heard)
        self.rig.api.refuse = self._refused
        self.world.refuse = self._asked
        self._refusing: list[tuple[type[Call] | None, float, Kind]] = []
        self._losing: list[float] = []
        self._writing: list[tuple[str, float, int]] = []
        self.ended = 0

    def begin(self, name: str, after: float, seconds: float) -> None:
        """Let an obstacle begin so many seconds from now, and end so long after."""

        def start() -> None:
            end = getattr(self, name)()
            self.world.due.append((self.world.now + seconds, lambda: self._end(end)))

        self.world.due.append((self.world.now + after, start))

    def _end(self, end: Callable[[], None]) -> None:
        end()
        self.ended += 1

    def settle(self) -> None:
        """Return what is gone for good when all obstacles have ended: instances whose Node is gone."""
        for instance in list(self.world.instances):
            if not any(node.instance == instance for node in self.world.nodes.values()):
                self.world.terminate(instance)

    # EC2.

    def throttled(self) -> Callable[[], None]:
        return self._refuse(None, 0.5, Kind.THROTTLED)

    def failing(self) -> Callable[[], None]:
        return self._refuse(None, 0.5, Kind.TRANSIENT)

    def ec2_off(self) -> Callable[[], None]:
        return self._refuse(None, 1.0, Kind.UNREACHABLE)

    def no_credentials(self) -> Callable[[], None]:
        return self._refuse(None, 1.0, Kind.NO_CREDENTIALS)

    def not_permitted(self) -> Callable[[], None]:
        kind = self.random.choice([Create, Attach, Detach, DescribeAll, Resolve])
        return self._refuse(kind, 1.0, Kind.NOT_PERMITTED)

    def subnet_full(self) -> Callable[[], None]:
        return self._refuse(Create, 1.0, Kind.SUBNET_FULL)

    def quota(self) -> Callable[[], None]:
        return self._refuse(Create, 1.0, Kind.QUOTA)

    def instance_not_ready(self) -> Callable[[], None]:
        return self._refuse(Attach, 1.0, Kind.STATE)

    def answers_lost(self) -> Callable[[], None]:
        self._losing.append(0.4)
        return lambda: self._losing.remove(0.4)

    def late_descriptions(self) -> Callable[[], None]:
        self.world.lag = lambda: self.random.choice([0.0, 2.0, 8.0])

        def end() -> None:
            self.world.lag = lambda: 0.0

        return end

    def late_tags(self) -> Callable[[], None]:
        self.world.late = 15.0

        def end() -> None:
            self.world.late = 0.0

        return end

    def no_subnet(self) -> Callable[[], None]:
        name = self.random.choice(OURS)
        taken = self.world.subnets[name][:-1]
        self.world.subnets[name] = self.world.subnets[name][-1:]

        def end() -> None:
            self.world.subnets[name] = (*taken, *self.world.subnets[name])

        return end

    # Others who change EC2.

    def index_taken(self) -> Callable[[], None]:
        return self._grab(1)

    def slots_full(self) -> Callable[[], None]:
        return self._grab(5)

    def detached_by_hand(self) -> Callable[[], None]:
        for eni in self._some_of_ours():
            if eni.state == ATTACHED:
                self.world.execute(Detach("somebody", eni.id, eni.attachment))
        return _nothing

    def deleted_by_hand(self) -> Callable[[], None]:
        for eni in self._some_of_ours():
            self.world._put(None, eni.id)  # noqa: SLF001 - what EC2 does
        return _nothing

    def moved_by_hand(self) -> Callable[[], None]:
        """Attach one ENI to an instance outside of the cluster, and take it off again."""
        found = [*self.lent, *self._some_of_ours()]
        moved = self.random.choice(found).id
        eni = self.world.enis.get(moved)
        if eni is not None and eni.state == AVAILABLE:
            there = replace(eni, instance=ELSEWHERE, attachment="eni-attach-x", state=ATTACHED, device=5)
            self.world._put(there)  # noqa: SLF001 - what EC2 does

        def end() -> None:
            now = self.world.enis.get(moved)
            if now is not None and now.instance == ELSEWHERE:
                self.world._put(_free(now))  # noqa: SLF001 - what EC2 does

        return end

    def in_use_without_attachment(self) -> Callable[[], None]:
        """Show free ENIs as in use, with no attachment, as ec2/responses.py reads it."""
        shown = [eni.id for eni in self.world.enis.values() if eni.state == AVAILABLE and eni != self.theirs]
        for each in shown:
            self.world._put(replace(self.world.enis[each], state=DETACHING))  # noqa: SLF001 - what EC2 does

        def end() -> None:
            for each in shown:
                eni = self.world.enis.get(each)
                if eni is not None and eni.state == DETACHING and not eni.instance:
                    self.world._put(replace(eni, state=AVAILABLE))  # noqa: SLF001 - what EC2 does

        return end

    # The API server, and who leads.

    def api_server_away(self) -> Callable[[], None]:
        self.rig.api.away = True

        def end() -> None:
            self.rig.api.away = False

        return end

    def conflicts(self) -> Callable[[], None]:
        return self._refuse_writes("", 0.5, 409)

    def a_policy_refuses_node_writes(self) -> Callable[[], None]:
        return self._refuse_writes(f"/nodes/{self.random.choice(NODES)}", 1.0, self.random.choice([403, 422]))

    def a_status_is_refused(self) -> Callable[[], None]:
        return self._refuse_writes(f"{self.random.choice(NODES)}.oam/status", 1.0, 422)

    def nothing_is_watched(self) -> Callable[[], None]:
        self.rig.stale = True

        def end() -> None:
            self.rig.stale = False

        return end

    def another_leader(self) -> Callable[[], None]:
        self.rig.elect()
        return _nothing

    # What users and nodes do.

    def relabelled(self) -> Callable[[], None]:
        name = self.random.choice(NODES)
        self._label(name, there=False)
        return lambda: self._label(name, there=True)

    def node_deleted(self) -> Callable[[], None]:
        """Delete a Node: its instance goes on, or ends; a node of the same name comes."""
        name = self.random.choice(NODES)
        node = self.world.nodes.pop(name, None)
        ended = self.random.random() < 0.5
        if node is not None and ended:
            self.world.terminate(node.instance)

        def end() -> None:
            if name in self.world.nodes:
                return
            if node is None or node.instance not in self.world.instances:
                self._join(name)
            else:
                # The kubelet registers again.
                self.world.serial += 1
                again = replace(node, uid=f"uid-{name}-{self.world.serial}", labels=dict(LABELS), taints=())
                self.world.nodes[name] = replace(again, advertised={})

        return end

    def power_cut(self) -> Callable[[], None]:
        """End an instance, whose Node stays for a while."""
        name = self.random.choice(NODES)
        node = self.world.nodes.get(name)
        if node is not None:
            self.world.terminate(node.instance)

        def end() -> None:
            if self.world.nodes.get(name) == node:
                self.world.nodes.pop(name, None)
            found = self.world.nodes.get(name)
            if found is None or found.instance not in self.world.instances:
                self.world.nodes.pop(name, None)
                self._join(name)

        return end

    def node_reports_nothing(self) -> Callable[[], None]:
        name = self.random.choice(NODES)
        self.world.blind.add(name)
        return lambda: self.world.blind.discard(name)

    def pods_use_everything(self) -> Callable[[], None]:
        self.world.pods = {eni.mac: ("ns/pod",) for eni in self.world.enis.values()}
        return self.world.pods.clear

    def spec_changed(self) -> Callable[[], None]:
        changes: tuple[dict[str, object], ...] = (
            {"source_dest_check": True},
            {"delete_on_termination": False},
            {"mtu": 1500},
            {"device_index": 4},
            {"subnets": (Term(id="subnet-0aaaaaaa"),)},
            {"groups": (Term(tags=(("multus", "oam"),)),)},
            {"full_taint": True},
        )
        self._edit(self.random.choice(OURS), self.random.choice(changes))
        return _nothing

    def attachment_deleted(self) -> Callable[[], None]:
        name = f"{self.random.choice(NODES)}.{self.random.choice([*OURS, LENT])}"
        if name in self.world.attachments:
            self.world.attachments[name] = replace(self.world.attachments[name], deleting=True)
        return _nothing

    def network_deleted(self) -> Callable[[], None]:
        """Delete a NodeNetwork, and create another one of its name when it is gone."""
        name = self.random.choice([*OURS, LENT])
        if name in self.world.networks:
            self.world.delete_network(name)

        def end() -> None:
            if name not in self.world.networks:
                self.world.serial += 1
                made = replace(self.specs[name], uid=f"uid-{self.world.serial}")
                self.world.networks[name] = made
            elif self.world.networks[name].deleting:
                self.world.due.append((self.world.now + 5, end))

        return end

    # How it is done.

    def _asked(self, call: Call) -> Refused | None:
        for kind, share, refusal in self._refusing:
            if (kind is None or isinstance(call, kind)) and self.random.random() < share:
                return Refused(refusal, (*call.actions, "list pods")[0], f"{refusal}: for a while")
        return None

    def _heard(self, _: Call, answer: Answer) -> Answer:
        if any(self.random.random() < share for share in self._losing):
            return Refused(Kind.UNREACHABLE, "", "the connection is cut")
        return answer

    def _refused(self, path: str) -> ApiError | None:
        for part, share, code in self._writing:
            if part in path and self.random.random() < share:
                return ApiError(code, "Refused", "for a while", f"write {path}")
        return None

    def _refuse(self, what: type[Call] | None, share: float, kind: Kind) -> Callable[[], None]:
        entry = what, share, kind
        self._refusing.append(entry)
        return lambda: self._refusing.remove(entry)

    def _refuse_writes(self, part: str, share: float, code: int) -> Callable[[], None]:
        entry = part, share, code
        self._writing.append(entry)
        return lambda: self._writing.remove(entry)

    def _grab(self, count: int) -> Callable[[], None]:
        before = set(self.world.enis)
        for node in self.world.nodes.values():
            for _ in range(count):
                if node.instance in self.world.instances:
                    self.world.grab_index(node.instance)
        grabbed = set(self.world.enis) - before

        def end() -> None:
            for each in grabbed:
                self.world._put(None, each)  # noqa: SLF001 - what EC2 does

        return end

    def _some_of_ours(self) -> list[Eni]:
        return [
            eni
            for eni in self.world.enis.values()
            if eni.tags.get(CLUSTER_TAG) == "prod" and self.random.random() < 0.3
        ]

    def _join(self, name: str) -> None:
        self.world.add_node(name, ZONES[NODES.index(name) % len(ZONES)])

    def _label(self, name: str, *, there: bool) -> None:
        node = self.world.nodes.get(name)
        if node is not None:
            others = {key: value for key, value in node.labels.items() if key not in LABELS}
            self.world.nodes[name] = replace(node, labels={**others, **(LABELS if there else {})})

    def _edit(self, name: str, change: dict[str, object]) -> None:
        before = self.world.networks.get(name)
        if before is None:
            return
        fields = dict(change)
        if "mtu" in fields:
            fields["link"] = replace(before.link, mtu=fields.pop("mtu"))  # type: ignore[arg-type] # by name
        if "subnets" in fields:
            self.world.subnets[name] = tuple(
                replace(each, id=f"{each.id}-new") for each in self.world.subnets[name]
            )
        edited: NodeNetwork = replace(before, generation=before.generation + 1, **fields)  # type: ignore[arg-type] # by name
        self.world.networks[name] = edited


def _nothing() -> None:
    """Need no end."""


def _free(eni: Eni) -> Eni:
    return replace(
        eni, instance="", attachment="", state=AVAILABLE, device=None, card=0, delete_on_termination=False
    )


OBSTACLES = tuple(
    sorted(name for name in vars(Trouble) if not name.startswith("_") and name not in ("begin", "settle"))
)
