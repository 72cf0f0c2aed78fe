"""What `--dry-run` foresees, from what was seen."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from common.agent_settings import AgentSettings, Mode, Takeover
from common.exit_codes import ExitCode
from ipagent.assign.errors import AgentError, Ec2Unreachable, NoImds, NoPermission
from ipagent.assign.selection import Refusal, Selection
from ipagent.assign.topology import EniDetails
from ipagent.commands.addresses import PodView
from ipagent.commands.context import NodeEnis
from ipagent.commands.dry_run import DryRun, Expected, as_document, as_text, forecast
from ipagent.commands.inventory import BY_MAC, AddressLocation, Held, Target
from ipagent.commands.render import Palette
from tests.ipagent.fakes import ENI_1, ENI_2, ip, placement

pytestmark = pytest.mark.pure

ALWAYS, NEVER = AgentSettings(), AgentSettings(takeover=Takeover.NEVER)
ACCESS = {"region": "eu-central-1", "identity": "env"}
OWN = EniDetails("eni-1", ip("10.10.1.10"), (ip("10.10.1.60"), ip("2001:db8:1::60")))
OTHER = EniDetails(
    "eni-9", ip("10.10.1.9"), (ip("10.10.1.50"), ip("2001:db8:1::50")), instance_id="i-9", device_number=1
)
CNI = replace(OTHER, eni_id="eni-8", device_number=0)


def on(address: str, holder: EniDetails | None = None, *, asked: bool = True) -> AddressLocation:
    held = Held(placement(address).holding)
    return AddressLocation(held, Target(ENI_1, "net1 has its MAC", BY_MAC), asked=asked, holder=holder)


def view(*seen: AddressLocation, ec2_error: AgentError | None = None, **more: Any) -> PodView:
    selection = Selection(tuple(one.held.holding for one in seen if one.held.counts))
    described = tuple({one.holder.eni_id: one.holder for one in seen if one.holder}.values())
    nodes = NodeEnis((ENI_1, ENI_2), "imds")
    made = PodView({"name": "pod-1"}, seen, selection, nodes, ACCESS, ec2_error, described=described)
    return replace(made, **more)


def seen(made: PodView, settings: AgentSettings = ALWAYS, mode: Mode = Mode.INIT) -> DryRun:
    return forecast(mode, settings, made)


@pytest.mark.parametrize(
    ("one", "settings", "would", "calls", "code"),
    [
        (on("10.10.1.80"), ALWAYS, Expected.ASSIGN, ["AssignPrivateIpAddresses eni-1"], ExitCode.OK),
        (on("10.10.1.80"), NEVER, Expected.ASSIGN, ["AssignPrivateIpAddresses eni-1"], ExitCode.OK),
        (on("10.10.1.60", OWN), ALWAYS, Expected.KEEP, ["AssignPrivateIpAddresses eni-1"], ExitCode.OK),
        (
            on("10.10.1.50", OTHER),
            ALWAYS,
            Expected.TAKE_OVER,
            ["AssignPrivateIpAddresses eni-1"],
            ExitCode.OK,
        ),
        (on("10.10.1.50", OTHER), NEVER, Expected.FAIL, [], ExitCode.HELD_ELSEWHERE),
        (on("10.10.1.9", OTHER), ALWAYS, Expected.FAIL, [], ExitCode.ADDRESS_REFUSED),
        (
            on("10.10.1.80", asked=False),
            NEVER,
            Expected.ASSIGN,
            ["AssignPrivateIpAddresses eni-1"],
            ExitCode.OK,
        ),
        (on("2001:db8:1::80"), ALWAYS, Expected.ASSIGN, ["AssignIpv6Addresses eni-1"], ExitCode.OK),
        (on("2001:db8:1::60", OWN), ALWAYS, Expected.KEEP, ["AssignIpv6Addresses eni-1"], ExitCode.OK),
        (
            on("2001:db8:1::50", OTHER),
            ALWAYS,
            Expected.TAKE_OVER,
            ["UnassignIpv6Addresses eni-9", "AssignIpv6Addresses eni-1"],
            ExitCode.OK,
        ),
        (on("2001:db8:1::50", OTHER), NEVER, Expected.FAIL, [], ExitCode.HELD_ELSEWHERE),
        (on("2001:db8:1::50", CNI), ALWAYS, Expected.FAIL, [], ExitCode.HELD_ELSEWHERE),
    ],
)
def test_a_dry_run_expects_the_right_outcome_of_an_address(
    one: AddressLocation, settings: AgentSettings, would: Expected, calls: list[str], code: ExitCode
) -> None:
    answer = seen(view(one), settings)
    assert answer.expected(one) is would
    document = as_document(answer)
    assert [f"{call['action']} {call['eni']}" for call in document["calls"]] == calls
    assert answer.exit_code == document["exitCode"] == code
    assert bool(answer.failure) is bool(code)


def test_one_call_for_each_eni_and_family_with_the_flag_that_is_sent() -> None:
    held = Held(placement("10.10.2.80", ENI_2, "net2").holding)
    elsewhere = AddressLocation(held, Target(ENI_2, "net2 has its MAC", BY_MAC), asked=True)
    answer = seen(view(on("10.10.1.80"), on("10.10.1.81"), elsewhere, on("2001:db8:1::80")), NEVER)
    assert as_document(answer)["calls"] == [
        {
            "action": "AssignPrivateIpAddresses",
            "eni": "eni-1",
            "addresses": ["10.10.1.80", "10.10.1.81"],
            "allowReassignment": False,
        },
        {
            "action": "AssignPrivateIpAddresses",
            "eni": "eni-2",
            "addresses": ["10.10.2.80"],
            "allowReassignment": False,
        },
        {"action": "AssignIpv6Addresses", "eni": "eni-1", "addresses": ["2001:db8:1::80"]},
    ]


def test_the_calls_and_the_end_are_those_of_the_reconciler_that_runs() -> None:
    cidr = ip_network("10.10.1.80/28")
    prefixed = replace(OTHER, prefixes=(ip_network("10.10.1.96/28"),))
    mine = replace(ENI_1, prefixes=(cidr,))
    made = view(on("10.10.1.81"), on("10.10.1.97", prefixed))
    answer = seen(replace(made, nodes=NodeEnis((mine,), "imds")))
    # What lies in a prefix of the ENI itself is routed to it already: no call.
    assert answer.calls == ()
    assert answer.exit_code == ExitCode.ADDRESS_REFUSED
    assert "10.10.1.97 (net1) on eni-1: it lies in the prefix 10.10.1.96/28" in answer.failure
    assert "Assigned anyway: 10.10.1.81 on eni-1" in answer.failure


def test_ipv4_addresses_are_taken_over_as_a_run_does_it() -> None:
    """Without the flag first; with it what a look finds on ENIs that may lose it, and nothing else."""
    cni = replace(CNI, secondaries=(ip("10.10.1.51"),))
    made = view(on("10.10.1.80"), on("10.10.1.50", OTHER), on("10.10.1.51", cni))
    answer = seen(made)
    assert [answer.expected(one) for one in made.addresses] == [
        Expected.ASSIGN,
        Expected.TAKE_OVER,
        Expected.FAIL,
    ]
    calls = [(call["addresses"], call["allowReassignment"]) for call in as_document(answer)["calls"]]
    assert calls == [(["10.10.1.80"], False), (["10.10.1.50"], True)]
    # EC2 does not say who holds it: the look after its refusal does.
    assert (
        "10.10.1.51 (net1) on eni-1: it is a secondary address of eni-8 (device number 0 of" in answer.failure
    )
    assert "([10.10.1.50, 10.10.1.51] assigned, but move is not allowed.)" in answer.failure
    assert "The agent takes no address off such an ENI" in answer.failure
    assert "eni-9" not in answer.failure


def test_a_dry_run_changes_nothing_of_the_snapshot() -> None:
    made = view(on("10.10.1.50", OTHER), on("2001:db8:1::50", OTHER))
    before = replace(made)
    assert seen(made) == seen(made)
    assert made == before


def test_failing_addresses_do_not_hold_up_the_others() -> None:
    refused = placement("10.10.7.7").holding
    gone = AddressLocation(Held(placement("192.168.7.7").holding), Target(None, "no ENI contains it"))
    left = AddressLocation(Held(refused, "it lies outside"))
    made = view(on("10.10.1.80"), on("10.10.1.9", OTHER), gone, left)
    made = replace(made, selection=replace(made.selection, refused=(Refusal(refused, "it lies outside"),)))
    answer = seen(made)
    assert [answer.expected(one) for one in made.addresses] == [
        Expected.ASSIGN,
        Expected.FAIL,
        Expected.FAIL,
        Expected.FAIL,
    ]
    # The code is the one that a real run ends with: no ENI stands before a refused address.
    assert answer.exit_code == ExitCode.NO_ENI
    for address in ("10.10.1.9", "192.168.7.7", "10.10.7.7"):
        assert f"Not assigned: {address} (net1)" in answer.failure
    assert [call.addresses for call in answer.calls] == [(ip("10.10.1.80"),)]


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"undecided": True}, ExitCode.USAGE, "multus-eni.io/interfaces"),
        ({"selection": Selection(missing=("net7",))}, ExitCode.NO_ENI, "no interface net7"),
        ({"nodes": NodeEnis(error=NoImds("IMDS is silent"))}, ExitCode.NO_IMDS, "IMDS is silent"),
        ({"ec2_error": Ec2Unreachable("EC2 is silent")}, ExitCode.EC2_UNREACHABLE, "VPC endpoint"),
    ],
)
def test_a_dry_run_names_what_would_end_the_run_at_once(
    more: dict[str, Any], code: ExitCode, says: str
) -> None:
    made = view(on("10.10.1.80"), **more)
    answer = seen(made)
    assert (answer.exit_code, answer.calls) == (code, ())
    assert says in answer.failure
    assert answer.expected(made.addresses[0]) is Expected.FAIL
    assert f"Expected end with {int(code)}: {answer.failure}" in as_text(answer, Palette(False))


def test_a_missing_right_to_describe_is_reported_but_not_a_failure() -> None:
    answer = seen(view(on("10.10.1.80", asked=False), ec2_error=NoPermission("may not describe")))
    assert answer.exit_code == ExitCode.OK
    assert "EC2 unknown: may not describe" in as_text(answer, Palette(False))


@pytest.mark.parametrize(
    ("mode", "settings", "says"),
    [
        (Mode.INIT, ALWAYS, "once EC2 has confirmed"),
        (Mode.SIDECAR, ALWAYS, "leaves them at the end"),
        (Mode.SIDECAR, AgentSettings(release_on_exit=True), "takes them off at the end"),
    ],
)
def test_the_text_says_how_it_would_end(mode: Mode, settings: AgentSettings, says: str) -> None:
    text = as_text(seen(view(on("10.10.1.80")), settings, mode), Palette(False))
    assert says in text
    assert "Nothing was changed." in text


def test_a_pod_without_addresses_makes_no_calls() -> None:
    answer = seen(view())
    assert (answer.exit_code, answer.calls) == (ExitCode.OK, ())
    assert "nothing to assign" in as_text(answer, Palette(False))
