"""What the engine's calls become as requests, and what it is told of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

import pytest

from ipagent.assign.address_calls import Assign, Move, TakeOver, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error, NoEni
from ipagent.assign.executor import run
from ipagent.assign.topology import Eni, EniDetails
from ipagent.call_relay import MAX_ADDRESSES, Action, RelayAnswer, RelayCall
from ipagent.node.central.attachments import RelayAttachment, Wanted, read_attachment
from ipagent.node.central.client import FRESH, RelayClient
from ipagent.node.central.cloud import CentralCloud
from tests.ipagent.fakes import Lines, Time, ip

pytestmark = pytest.mark.pure

A, B, SIX = ip("10.10.1.81"), ip("10.10.1.82"), ip("2001:db8:1::81")
OAM = RelayAttachment("n1.oam", "i-1", "eni-1", "subnet-1", (ip_network("10.10.1.0/24"),), device=2)
SIG = RelayAttachment("n1.sig", "i-1", "eni-2", "subnet-2", (ip_network("10.10.2.0/24"),))
OTHERS = EniDetails(
    "eni-9",
    ip("10.10.1.9"),
    (A, SIX),
    instance_id="i-9",
    device_number=1,
    subnet_id="subnet-1",
    no_manage=True,
)


@dataclass
class FakeRelay:
    """Answers each call by what `answers` has for its action, in order; without one, with success."""

    known: list[RelayAttachment] = field(default_factory=lambda: [OAM, SIG])
    answers: dict[Action, list[RelayAnswer]] = field(default_factory=dict)
    asked: list[tuple[str, RelayCall]] = field(default_factory=list)
    round_trips: int = 0
    down: Failure | None = None
    unwritable: set[str] = field(default_factory=set)
    stands: dict[str, list[RelayCall]] = field(default_factory=dict)
    node: str = "n1"

    def attachments(self) -> Mapping[str, RelayAttachment]:
        return {each.name: each for each in self.known}

    def failing(self, name: str) -> bool:
        return name in self.unwritable

    def standing(self, name: str) -> Sequence[RelayCall]:
        return self.stands.get(name, ())

    def ask(self, wanted: Wanted) -> Mapping[str, tuple[RelayAnswer, ...]]:
        self.round_trips += 1
        if self.down is not None:
            raise Ec2Error(self.down)
        return {name: tuple(self._answer(name, call) for call in calls) for name, calls in wanted.items()}

    def _answer(self, name: str, call: RelayCall) -> RelayAnswer:
        self.asked.append((name, call))
        if given := self.answers.get(call.action):
            return given.pop(0)
        listed = frozenset(call.addresses) if call.action is Action.ASSIGN_IPV4 else frozenset[IPAddress]()
        return RelayAnswer(call.id, listed)

    @property
    def calls(self) -> list[tuple[str, Action, str, tuple[IPAddress, ...], bool]]:
        return [(name, c.action, c.eni, c.addresses, c.allow_reassignment) for name, c in self.asked]


@pytest.fixture
def relay() -> FakeRelay:
    return FakeRelay()


@pytest.fixture
def client(relay: FakeRelay) -> RelayClient:
    return RelayClient(relay, Time().timing)


def refused(fault: Fault, *enis: EniDetails, remedy: str = "") -> RelayAnswer:
    return RelayAnswer(0, interfaces=enis, failure=Failure(fault, f"EC2 says {fault.name}", remedy=remedy))


def test_calls_go_by_the_node_attachment_of_their_eni(relay: FakeRelay, client: RelayClient) -> None:
    assert client.assign(Assign("eni-2", (A,), allow_reassignment=True)) == {A}
    client.unassign(Unassign("eni-1", (SIX,)))
    assert relay.calls == [
        ("n1.sig", Action.ASSIGN_IPV4, "eni-2", (A,), True),
        ("n1.oam", Action.UNASSIGN_IPV6, "eni-1", (SIX,), False),
    ]
    assert client.calls == {("AssignPrivateIpAddresses", "ok"): 1, ("UnassignIpv6Addresses", "ok"): 1}


def test_many_addresses_are_one_round_trip(relay: FakeRelay, client: RelayClient) -> None:
    many = tuple(ip(f"10.10.1.{number}") for number in range(1, 151))
    assert client.assign(Assign("eni-1", many, allow_reassignment=False)) == set(many)
    assert relay.round_trips == 1
    assert [len(call.addresses) for _, call in relay.asked] == [MAX_ADDRESSES, MAX_ADDRESSES, 22]


def test_all_enis_are_described_at_once(relay: FakeRelay, client: RelayClient) -> None:
    one, two = replace(OTHERS, eni_id="eni-1"), replace(OTHERS, eni_id="eni-2")
    relay.answers[Action.DESCRIBE] = [RelayAnswer(0, interfaces=(one,)), RelayAnswer(0, interfaces=(two,))]
    assert client.attached("i-1") == (one, two)
    assert relay.round_trips == 1


def test_an_eni_that_has_gone_does_not_hide_the_others(relay: FakeRelay, client: RelayClient) -> None:
    two = replace(OTHERS, eni_id="eni-2")
    given = [refused(Fault.NO_ENI), RelayAnswer(0, interfaces=(two,))]
    relay.answers[Action.DESCRIBE] = [*given, refused(Fault.NO_ENI)]
    assert client.attached("i-1") == (two,)
    with pytest.raises(Ec2Error, match="NO_ENI"):
        client.describe("eni-1")


def test_an_eni_that_can_not_be_asked_for_does_not_hide_the_others(
    relay: FakeRelay, client: RelayClient
) -> None:
    two = replace(OTHERS, eni_id="eni-2")
    for refusal in (refused(Fault.UNREACHABLE), refused(Fault.NO_PERMISSION), refused(Fault.FOREIGN_ENI)):
        relay.answers[Action.DESCRIBE] = [refusal, RelayAnswer(0, interfaces=(two,))]
        assert client.attached("i-1") == (two,)
        assert refusal.failure is not None
        ((via, failure),) = client.unread
        assert (via, failure.text) == (OAM, refusal.failure.text)
    relay.answers[Action.DESCRIBE] = [RelayAnswer(0, interfaces=(two,)), RelayAnswer(0, interfaces=(two,))]
    client.attached("i-1")
    assert client.unread == ()
    relay.answers[Action.DESCRIBE] = [refused(Fault.NO_ENI), refused(Fault.UNREACHABLE)]
    with pytest.raises(Ec2Error, match="UNREACHABLE"):
        client.attached("i-1")


@pytest.mark.parametrize("fault", [Fault.ENI_FULL, Fault.THROTTLED, Fault.NO_PERMISSION])
def test_a_refusal_is_the_same_as_that_of_ec2(relay: FakeRelay, client: RelayClient, fault: Fault) -> None:
    relay.answers[Action.ASSIGN_IPV4] = [refused(fault, remedy="Do that.")]
    with pytest.raises(Ec2Error) as raised:
        client.assign(Assign("eni-1", (A,), allow_reassignment=False))
    assert raised.value.failure == Failure(fault, f"EC2 says {fault.name}", remedy="Do that.")
    assert client.calls == {("AssignPrivateIpAddresses", fault.name.lower()): 1}


def test_missing_rights_are_the_controllers(relay: FakeRelay, client: RelayClient) -> None:
    relay.answers[Action.DESCRIBE] = [refused(Fault.NO_PERMISSION)]
    with pytest.raises(Ec2Error) as raised:
        client.describe("eni-1")
    assert "controller's ServiceAccount" in raised.value.failure.remedy


def test_an_address_is_taken_over_by_two_round_trips(relay: FakeRelay, client: RelayClient) -> None:
    relay.answers[Action.ASSIGN_IPV4] = [refused(Fault.HELD_ELSEWHERE, OTHERS)]
    (outcome,) = run(TakeOver("eni-1", "subnet-1", (A,)), client)
    assert (outcome.listed, outcome.failure) == (frozenset({A}), None)
    assert relay.round_trips == 2
    assert [call[4] for call in relay.calls] == [False, True]


def test_holders_that_came_with_a_refusal_are_asked_for_again_once_they_are_old(relay: FakeRelay) -> None:
    time = Time()
    client = RelayClient(relay, time.timing)
    for age, round_trips in ((0.0, 1), (FRESH + 0.1, 2)):
        relay.round_trips = 0
        relay.answers[Action.ASSIGN_IPV4] = [refused(Fault.HELD_ELSEWHERE, OTHERS)]
        relay.answers[Action.HOLDERS] = [RelayAnswer(0, interfaces=(OTHERS,))]
        with pytest.raises(Ec2Error):
            client.assign(Assign("eni-1", (A,), allow_reassignment=False))
        time.sleep(age)
        assert client.holders([A], "subnet-1") == (OTHERS,)
        assert relay.round_trips == round_trips


def test_ipv6_is_taken_off_the_other_eni_by_the_node_attachment_of_the_subnet(
    relay: FakeRelay, client: RelayClient
) -> None:
    relay.answers[Action.HOLDERS] = [RelayAnswer(0, interfaces=(OTHERS,))]
    (outcome,) = run(Move("eni-1", "subnet-1", (SIX,), allow_reassignment=True), client)
    assert outcome.failure is None
    assert relay.calls == [
        ("n1.oam", Action.HOLDERS, "eni-1", (SIX,), False),
        ("n1.oam", Action.UNASSIGN_IPV6, "eni-9", (SIX,), False),
        ("n1.oam", Action.ASSIGN_IPV6, "eni-1", (SIX,), False),
    ]


def test_holders_are_looked_for_by_a_node_attachment_that_can_be_asked_by(
    relay: FakeRelay, client: RelayClient
) -> None:
    twin = replace(SIG, subnet="subnet-1")
    relay.known = [OAM, twin]
    relay.unwritable.add("n1.oam")
    client.holders([A], "subnet-1")
    client.prefix_holders([A], "subnet-1")
    relay.known = [OAM, replace(twin, leaving=True)]
    client.holders([A], "subnet-1")
    relay.unwritable.clear()
    client.holders([A], "subnet-1")
    assert [name for name, _ in relay.asked] == ["n1.sig", "n1.sig", "n1.sig", "n1.oam"]


def test_what_no_node_network_has_is_told_with_the_way_out(relay: FakeRelay, client: RelayClient) -> None:
    for ask in (
        lambda: client.assign(Assign("eni-7", (A,), allow_reassignment=False)),
        lambda: client.describe("eni-7"),
        lambda: client.holders([A], "subnet-7"),
    ):
        with pytest.raises(Ec2Error) as raised:
            ask()
        failure = raised.value.failure
        assert failure.fault is Fault.NO_ENI
        assert failure.text.startswith("No NodeNetwork has")
        assert "source: Adopt" in failure.remedy
    assert relay.round_trips == 0


def test_a_silent_controller_is_counted(relay: FakeRelay, client: RelayClient) -> None:
    relay.down = Failure(Fault.UNREACHABLE, "silent")
    with pytest.raises(Ec2Error):
        client.describe("eni-1")
    assert client.calls == {("DescribeNetworkInterfaces", "unreachable"): 1}


class TestCloud:
    """The node agent's cloud: no call of botocore, and IMDS switched off."""

    @pytest.fixture
    def cloud(self, relay: FakeRelay) -> CentralCloud:
        env = {"AWS_EC2_METADATA_DISABLED": "true"}
        return CentralCloud(env, relay, Lines().log, Time().timing)

    def test_the_enis_are_those_of_the_node_attachments(self, relay: FakeRelay, cloud: CentralCloud) -> None:
        one = replace(OTHERS, eni_id="eni-1", instance_id="i-1", mac="02:aa:00:00:00:01")
        two = replace(one, eni_id="eni-2", device_number=2, subnet_id="subnet-2", no_manage=False)
        relay.answers[Action.DESCRIBE] = [
            RelayAnswer(0, interfaces=(one,)),
            RelayAnswer(0, interfaces=(two,)),
        ]
        found = cloud.observed().attached
        assert [(each.eni.id, each.eni.subnet_cidrs, each.eni.usable) for each in found] == [
            ("eni-1", OAM.cidrs, True), ("eni-2", SIG.cidrs, False)
        ]  # fmt: skip
        assert cloud.instance_id == "i-1"

    def test_of_an_eni_that_cannot_be_read_is_known_what_its_node_attachment_says(
        self, relay: FakeRelay, cloud: CentralCloud
    ) -> None:
        relay.known = [replace(OAM, mac="02:aa:00:00:00:01", device=3, card=1, leaving=True), SIG]
        two = replace(OTHERS, eni_id="eni-2")
        answers = [refused(Fault.UNREACHABLE), RelayAnswer(0, interfaces=(two,))]
        relay.answers[Action.DESCRIBE] = [*answers, *answers]
        found = cloud.topology(())
        assert [each.id for each in found.enis] == ["eni-2", "eni-1"]
        assert [each.eni_id for each in found.held] == ["eni-2"]
        assert "UNREACHABLE" in str(found.unread["eni-1"])
        observed = cloud.observed()
        assert [each.eni.id for each in observed.attached] == ["eni-2"]
        assert [each.eni for each in observed.unread] == [
            Eni("eni-1", "02:aa:00:00:00:01", 3, "subnet-1", OAM.cidrs, "is being detached", network_card=1)
        ]

    def test_a_node_without_any_says_what_to_do(self, relay: FakeRelay, cloud: CentralCloud) -> None:
        relay.known = []
        with pytest.raises(NoEni, match="No NodeNetwork has an ENI on node n1") as raised:
            cloud.topology(())
        assert "source: Adopt" in raised.value.remedy


def attachment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "n1.oam"},
        "spec": {"instanceID": "i-1"},
        "status": {"eni": "eni-1", "device": 2, "subnet": "subnet-1", "cidrs": ["10.10.1.0/24"], **status},
    }


def test_a_node_attachment_counts_while_its_eni_is_attached() -> None:
    assert read_attachment(attachment(mac="02:AA:00:00:00:01", card=1)) == replace(
        OAM, mac="02:aa:00:00:00:01", card=1
    )
    assert read_attachment(attachment(eni="")) is None
    assert read_attachment(attachment(device=None)) is None
    going = attachment()
    going["metadata"]["deletionTimestamp"] = "2026-11-29T10:00:00Z"
    assert read_attachment(going) == replace(OAM, leaving=True)


def test_by_a_node_attachment_that_is_being_deleted_addresses_are_released_and_none_assigned(
    relay: FakeRelay, client: RelayClient
) -> None:
    relay.known = [replace(OAM, leaving=True, instance="i-0"), SIG]
    one, two = replace(OTHERS, eni_id="eni-1"), replace(OTHERS, eni_id="eni-2")
    relay.answers[Action.DESCRIBE] = [RelayAnswer(0, interfaces=(one,)), RelayAnswer(0, interfaces=(two,))]
    assert client.attached("i-1") == (replace(one, detaching=True), two)
    assert client.instance_id() == "i-1"
    client.unassign(Unassign("eni-1", (A,)))
    assert relay.calls[-1] == ("n1.oam", Action.UNASSIGN_IPV4, "eni-1", (A,), False)
    with pytest.raises(Ec2Error, match=r"n1\.oam is being deleted"):
        client.assign(Assign("eni-1", (A,), allow_reassignment=False))


def test_what_was_asked_for_before_is_asked_for_in_the_same_parts_and_counted_once(
    relay: FakeRelay, client: RelayClient
) -> None:
    relay.down = Failure(Fault.UNREACHABLE, "not answered yet", pending=True)
    with pytest.raises(Ec2Error):
        client.assign(Assign("eni-1", (A,), allow_reassignment=False))
    assert not client.calls
    relay.down = None
    relay.stands = {"n1.oam": [RelayCall(3, Action.ASSIGN_IPV4, "eni-1", (B,))]}
    client.assign(Assign("eni-1", (A, B), allow_reassignment=False))
    assert [addresses for *_, addresses, _ in relay.calls] == [(B,), (A,)]
    client.assign(Assign("eni-1", (A,), allow_reassignment=False))
    assert [addresses for *_, addresses, _ in relay.calls[2:]] == [(A,)]


def test_two_enis_in_one_subnet_release_each_by_its_own_node_attachment(
    relay: FakeRelay, client: RelayClient
) -> None:
    relay.known = [OAM, replace(SIG, subnet="subnet-1")]
    relay.answers[Action.HOLDERS] = [RelayAnswer(0, interfaces=(replace(OTHERS, eni_id="eni-2"),))]
    assert client.holders([A], "subnet-1")[0].eni_id == "eni-2"
    client.unassign(Unassign("eni-2", (A,)))
    assert relay.calls[-1] == ("n1.sig", Action.UNASSIGN_IPV4, "eni-2", (A,), False)
