"""IPv4 addresses are taken from other ENIs of ours, and from nobody else's, at as few calls as that takes."""

from typing import Any

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.address_calls import Assign, TakeOver, Unassign
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import error_of
from ipagent.assign.executor import run
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.takeover import LOOKED_UP_SECONDS
from tests.ipagent.fakes import FakeCloud, Lines, Strike, Time, ip, placement

pytestmark = pytest.mark.pure

A, B, C = ip("10.10.1.80"), ip("10.10.1.81"), ip("10.10.1.82")
V6 = ip("2001:db8:1::80")

FOREIGN: dict[str, dict[str, Any]] = {
    "device 0": {"device_number": 0},
    "the VPC CNI's, by its description": {"description": "aws-K8S-i-0b000000000000001"},
    "the VPC CNI's, by its tag": {"owner_tag": "eks:eni:owner=amazon-vpc-cni"},
    "a trunk": {"interface_type": "trunk"},
    "EFA": {"interface_type": "efa"},
    "a service's": {"managed": True},
    "Cilium's": {"description": "Cilium-CNI (i-0b000000000000001)"},
}


class Run:
    """A reconciler beside another ENI, which holds an address."""

    def __init__(self, *held: Any, **traits: Any) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, traits={"eni-9": traits})
        self.cloud.secondaries["eni-9"] = set(held)
        self.lines = Lines()
        self.reconciler = Reconciler(self.cloud, timing=self.time.timing, log=self.lines.log)

    def assign(self, *addresses: Any, again: Any = (), takeover: bool = True) -> dict[str, Phase]:
        wanted = [placement(str(address), takeover=takeover) for address in addresses]
        self.reconciler.set_desired(wanted, again)
        begun = self.time.now
        while (delay := self.reconciler.step()) is not None and self.time.now - begun < 30:
            self.time.sleep(delay)
        return {str(item.address): item.phase for item in self.reconciler.plan.items}

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.cloud.calls]


@pytest.mark.parametrize("traits", FOREIGN.values(), ids=FOREIGN)
def test_nothing_is_taken_from_an_eni_that_is_not_ours(traits: dict[str, Any]) -> None:
    run = Run(A, **traits)
    assert run.assign(A) == {str(A): Phase.REFUSED}
    assert run.cloud.secondaries["eni-9"] == {A}
    (item,) = run.reconciler.plan.items
    assert item.failure
    assert "it is a secondary address of eni-9" in item.failure.text
    assert error_of(item.failure).exit_code == ExitCode.HELD_ELSEWHERE
    assert run.kinds() == ["assign", "holders"]


@pytest.mark.parametrize("traits", [{}, {"instance_id": "", "device_number": None}], ids=["ours", "detached"])
def test_it_is_taken_from_an_eni_of_ours_by_three_calls(traits: dict[str, Any]) -> None:
    run = Run(A, **traits)
    assert run.assign(A) == {str(A): Phase.CONFIRMED}
    assert (run.cloud.secondaries["eni-9"], run.cloud.secondaries["eni-1"]) == (set(), {A})
    assert run.kinds() == ["assign", "holders", "assign"]


def test_a_free_address_costs_one_call() -> None:
    run = Run()
    assert run.assign(A, B) == {str(A): Phase.CONFIRMED, str(B): Phase.CONFIRMED}
    assert run.kinds() == ["assign"]


def test_of_a_batch_what_is_free_and_what_is_ours_lands_by_one_look() -> None:
    run = Run(B)
    run.cloud.secondaries["eni-2"] = {C}
    run.cloud.traits["eni-2"] = {"interface_type": "trunk"}
    assert run.assign(A, B, C) == {
        str(A): Phase.CONFIRMED,
        str(B): Phase.CONFIRMED,
        str(C): Phase.REFUSED,
    }
    assert run.kinds() == ["assign", "holders", "assign", "assign"]


def test_a_flapping_address_is_taken_back_by_one_call_for_a_minute() -> None:
    run = Run(A)
    run.assign(A)
    for seconds, calls in ((1, 1), (LOOKED_UP_SECONDS - 10, 1), (LOOKED_UP_SECONDS, 3)):
        run.time.now += seconds
        run.cloud.secondaries |= {"eni-1": set(), "eni-9": {A}}
        run.cloud.calls.clear()
        assert run.assign(A, again={A}) == {str(A): Phase.CONFIRMED}
        assert len(run.kinds()) == calls


def test_without_the_right_to_look_nothing_is_taken_and_what_is_free_lands() -> None:
    run = Run(A)
    run.cloud.struck = [Strike("holders", Fault.NO_PERMISSION) for _ in range(9)]
    assert run.assign(A, B) == {str(A): Phase.REFUSED, str(B): Phase.CONFIRMED}
    assert run.cloud.secondaries["eni-9"] == {A}
    failure = next(item.failure for item in run.reconciler.plan.items if item.address == A)
    assert failure
    assert "its holder can't be looked up, so it is not taken over" in failure.text
    assert error_of(failure).exit_code == ExitCode.NO_PERMISSION


def test_an_outage_of_the_look_is_outlasted() -> None:
    run = Run(A)
    run.cloud.struck = [Strike("holders", Fault.THROTTLED) for _ in range(3)]
    assert run.assign(A) == {str(A): Phase.CONFIRMED}
    assert run.cloud.secondaries["eni-9"] == set()


def test_an_address_of_the_eni_itself_is_not_looked_up() -> None:
    run = Run()
    run.cloud.secondaries["eni-1"] = {A}
    assert run.assign(A) == {str(A): Phase.CONFIRMED}
    assert run.kinds() == ["assign"]


def test_each_address_is_in_one_outcome() -> None:
    cloud = FakeCloud(Time(), room=2)
    cloud.secondaries["eni-9"] = {A, B}
    outcomes = list(run(TakeOver("eni-1", "subnet-1", (A, B, C)), cloud))
    assert sorted(str(a) for outcome in outcomes for a in outcome.call.addresses) == [str(A), str(B), str(C)]
    assert [o.failure.fault for o in outcomes if o.failure] == [Fault.ENI_FULL]


@pytest.mark.parametrize("address", [A, V6])
@pytest.mark.parametrize("takeover", [True, False])
def test_what_ec2_refuses_is_not_taken_for_assigned_because_it_was_here_a_moment_ago(
    address: IPAddress, takeover: bool
) -> None:
    run = Run()
    run.cloud.secondaries["eni-1"].add(address)
    run.cloud.ec2_delay = 3.0
    run.cloud.unassign(Unassign("eni-1", (address,)))
    run.cloud.assign(Assign("eni-9", (address,), allow_reassignment=False))
    expected = Phase.CONFIRMED if takeover else Phase.REFUSED
    assert run.assign(address, takeover=takeover) == {str(address): expected}
    assert (address in run.cloud.secondaries["eni-1"]) is takeover


@pytest.mark.parametrize(("address", "beside"), [(A, B), (V6, ip("2001:db8:1::81"))])
@pytest.mark.parametrize("takeover", [True, False])
def test_nor_where_an_address_beside_it_waits_for_imds(
    address: IPAddress, beside: IPAddress, takeover: bool
) -> None:
    run = Run()
    run.cloud.secondaries["eni-1"].add(address)
    run.cloud.ec2_delay = run.cloud.imds_delay = 3.0
    run.cloud.unassign(Unassign("eni-1", (address,)))
    run.cloud.assign(Assign("eni-9", (address,), allow_reassignment=False))
    expected = Phase.CONFIRMED if takeover else Phase.REFUSED
    found = run.assign(address, beside, takeover=takeover)
    assert found == {str(address): expected, str(beside): Phase.CONFIRMED}
    assert (address in run.cloud.secondaries["eni-1"]) is takeover


def test_the_holder_is_named_where_an_address_beside_it_waits_for_imds() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"].add(A)
    run.cloud.imds_delay = 3.0
    run.assign(A, B, takeover=False)
    (refused,) = run.reconciler.plan.in_phases({Phase.REFUSED})
    assert refused.failure is not None
    assert "it is a secondary address of eni-9 (device number 9 of i-9)" in refused.failure.text
