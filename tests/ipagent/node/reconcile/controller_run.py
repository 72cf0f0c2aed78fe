"""A node controller on an in-memory account of EC2, with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress, parse_address
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.grants import Grants, read_grants
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import Pod
from ipagent.node.reconcile.controller import NodeController
from tests.ipagent.fakes import Lines, Time
from tests.ipagent.node.account import Account
from tests.ipagent.node.pods import key

FLOATS = read_grants({"apps": {"cidrs": ["10.1.9.0/24"], "takeover": True}})


@dataclass
class FakeCollector:
    """A collector that makes room when it is told to, and remembers what it was shown."""

    account: Account
    shown: list[Ownership] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    leaked: dict[str, set[IPAddress]] = field(default_factory=dict)
    works: bool = True
    done: set[str] = field(default_factory=set)

    def observe(self, ownership: Ownership) -> None:
        self.shown.append(ownership)

    def step(self) -> float | None:
        if self.works:
            for eni_id in self.asked:
                if self.leaked.get(eni_id):
                    self.account.enis[eni_id].secondaries -= self.leaked.pop(eni_id)
                    self.done.add(eni_id)
            self.asked.clear()
        return None

    def make_room(self, eni_id: str) -> None:
        self.asked.add(eni_id)

    def is_reclaiming(self, eni_id: str) -> bool:
        return eni_id in self.asked

    def take_freed(self) -> frozenset[str]:
        freed, self.done = frozenset(self.done), set()
        return freed

    def take_events(self) -> list[AddressEvent]:
        return []


class Run:
    """A node agent's core with everything that it needs, and a second node beside it."""

    def __init__(self, grants: Grants = FLOATS, *, collector: bool = False, **account: Any) -> None:
        self.time = Time()
        self.account = Account(self.time, **account)
        self.cloud = self.account.node("a", 1)
        self.account.node("b", 2)
        self.collector = FakeCollector(self.account) if collector else None
        self.grants = grants
        self.happened: list[AddressEvent] = []
        self.steps = 0
        self.start()

    def start(self, *pods: Pod) -> None:
        self.lines = Lines()
        self.core = NodeController(self.cloud, self.grants, self.time.timing, self.lines.log, self.collector)
        self.core.replace_pods(pods)

    def to_rest(self, seconds: float = 120.0) -> float:
        """Step until nothing is due for a while, or time is up; returns the seconds that passed."""
        begun = self.time.now
        while (delay := self.core.step()) is not None and self.time.now + delay - begun <= seconds:
            if delay > 12:
                break
            self.time.now += delay
            self.steps += 1
            assert self.steps < 5000, "it spins"
        self.happened += self.core.take_events()
        return self.time.now - begun

    def live(self, seconds: float) -> None:
        """Let time pass."""
        until = self.time.now + seconds
        while (delay := self.core.step()) is not None and self.time.now + delay < until:
            self.time.now += delay
            self.steps += 1
            assert self.steps < 20000, "it spins"
        self.time.now = until
        self.core.step()
        self.happened += self.core.take_events()

    def pods(self, *pods: Pod) -> None:
        for each in pods:
            self.core.update_pod(each)
        self.to_rest()

    def claims(self, *claims: Claim) -> None:
        for each in claims:
            self.core.set_claim(each)
        self.to_rest()

    def on(self, eni_id: str = "eni-a-1") -> set[str]:
        return {str(address) for address in self.account.enis[eni_id].secondaries}

    def put(self, eni_id: str, *addresses: str) -> None:
        self.account.enis[eni_id].secondaries.update(map(parse_address, addresses))

    def take_away(self, *addresses: str) -> None:
        for each in self.account.enis.values():
            each.secondaries -= set(map(parse_address, addresses))

    def status(self, name: str = "a") -> ClaimStatus:
        return self.core.statuses()[key(name)]

    def kinds(self, name: str = "a") -> list[EventType]:
        return [each.kind for each in self.happened if each.pod == key(name)]

    def phase(self, address: str) -> Phase:
        (found,) = [i.phase for i in self.core.plan.items if str(i.address) == address]
        return found
