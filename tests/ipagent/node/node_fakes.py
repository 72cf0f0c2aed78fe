"""A node's cloud, its pods and a disk in memory, for what sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import AgentError, Ec2Error, error_of
from ipagent.assign.release import Pair
from ipagent.assign.retry import remaining
from ipagent.assign.topology import Attached, Eni, Observed, Unread
from ipagent.node.gc.checkpoint import LEAST_SECONDS
from ipagent.node.gc.records import OwnershipRecords
from ipagent.node.gc.undo_reclaim import ListingFailed
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from tests.ipagent.fakes import ENI_1, ENI_2, FakeCloud, Time

ENIS: tuple[Eni, ...] = (ENI_1, ENI_2)
BY_MAC = {eni.mac: eni for eni in ENIS}


@dataclass
class NodeFake(FakeCloud):
    """A node with two ENIs for pods.

    `on_observed` happens after the look, and before its answer is used; `on_io` before and after each call.
    """

    enis: tuple[Eni, ...] = ENIS
    observed_error: AgentError | None = None
    unread: set[str] = field(default_factory=set)
    """ENIs that can't be asked for."""
    on_observed: Callable[[], None] = lambda: None
    on_io: Callable[[], None] = lambda: None

    def observed(self) -> Observed:
        self.on_io()
        self.calls.append(("observed", "", ()))
        if self.observed_error is not None:
            raise self.observed_error
        try:
            with self._struck("observed"):
                found = tuple(
                    Attached(eni, self.shown(eni.id)) for eni in self.enis if eni.id not in self.unread
                )
        except Ec2Error as error:
            raise error_of(error.failure) from None
        self.on_observed()
        self.on_io()
        refused = error_of(Failure(Fault.UNREACHABLE, "a webhook refuses that"))
        return Observed(found, tuple(Unread(eni, refused) for eni in self.enis if eni.id in self.unread))

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        self.on_io()
        listed = super().assign(call)
        self.on_io()
        return listed

    def unassign(self, call: Unassign) -> None:
        self.on_io()
        super().unassign(call)
        self.on_io()


class FakeListing:
    """The API server's list of pods. `failing` is how many lists to come fail."""

    def __init__(self) -> None:
        self.all: dict[PodKey, Pod] = {}
        self.failing = 0
        self.lists = 0
        self.on_io: Callable[[], None] = lambda: None

    def pods(self) -> tuple[Pod, ...]:
        self.on_io()
        self.lists += 1
        if self.failing:
            self.failing -= 1
            raise ListingFailed("the API server answers with 503")
        return tuple(self.all.values())


class FakeCheckpoint:
    """A disk that keeps what was written when the process is killed; as slow to write as the store is."""

    def __init__(self, time: Time) -> None:
        self.saved = OwnershipRecords()
        self._wanted = self.saved
        self._time = time
        self._at = 0.0
        self.on_io: Callable[[], None] = lambda: None

    def load(self) -> OwnershipRecords:
        self._wanted = self.saved
        return self.saved

    def put(self, records: OwnershipRecords) -> None:
        self._wanted = records
        if records.withdraws(self.saved):
            self._write()

    def step(self) -> float | None:
        if self._wanted is not self.saved and self._at <= self._time.now:
            self._write()
        return None if self._wanted is self.saved else remaining(self._at, self._time.now)

    def _write(self) -> None:
        self.on_io()
        self.saved = self._wanted
        self.on_io()
        self._at = self._time.now + LEAST_SECONDS


@dataclass
class Watched:
    """What the core knows of pods and sessions, and tells the sweep."""

    complete: bool = True
    pods: dict[PodKey, Pod] = field(default_factory=dict)
    sessions: dict[PodKey, frozenset[Pair]] = field(default_factory=dict)

    def ownership(self) -> Ownership:
        owners: dict[Pair, PodKey] = {}
        floating: set[Pair] = set()
        for key, pod in self.pods.items():
            own = {(BY_MAC[each.mac].id, each.address) for each in pod.holdings}
            stated = self.sessions.get(key, frozenset())
            owners |= dict.fromkeys(own | stated, key)
            floating |= stated - own
        return Ownership(
            complete=self.complete,
            owners=owners,
            floating=frozenset(floating),
            named=frozenset(address for _, address in owners),
            unstated={
                key: frozenset(BY_MAC[each.mac].id for each in pod.holdings)
                for key, pod in self.pods.items()
                if pod.agent is InjectedAgent.DIRECT_SIDECAR
                or (pod.agent is InjectedAgent.NODE_SIDECAR and key not in self.sessions)
            },
            stated=frozenset(self.sessions),
        )
