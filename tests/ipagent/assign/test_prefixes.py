"""Addresses in delegated prefixes: on their own ENI they are there already, on another one they stay."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.address_calls import Unassign
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import Holding
from ipagent.assign.drift import DESCRIBE_SECONDS
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.engine import AddressEngine
from ipagent.assign.errors import error_of
from ipagent.assign.placement import place
from ipagent.assign.plan import Plan
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.release import release
from ipagent.assign.topology import Topology
from tests.ipagent.fakes import ENI_1, ENI_2, FakeCloud, Lines, Strike, Time, ip, placement

pytestmark = pytest.mark.pure

PREFIXES = (ip_network("10.10.1.96/28"), ip_network("2001:db8:1::/80"))
INSIDE = ["10.10.1.100", "2001:db8:1::100"]
OWN = replace(ENI_1, prefixes=PREFIXES)


class Run:
    """An agent's engine with an ENI that has prefixes in EC2; `shown` tells whether IMDS shows them, too."""

    def __init__(self, holder: str = "eni-1", *, shown: bool = False, addresses: Any = INSIDE) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, prefixes={holder: PREFIXES})
        self.lines = Lines()
        self.reconciler = Reconciler(self.cloud, timing=self.time.timing, log=self.lines.log)
        self.reconciler.retry_until_healed()
        self.engine = AddressEngine(self.reconciler, self.cloud, self.time.timing, self.lines.log)
        eni = OWN if shown else ENI_1
        self.reconciler.set_desired([placement(address, eni) for address in addresses])

    def let_pass(self, seconds: float) -> None:
        until = self.time.now + seconds
        for _ in range(5000):
            delay = self.engine.step()
            if delay is None or self.time.now + delay > until:
                self.time.now = until
                return
            self.time.sleep(delay)
        pytest.fail("it spins")

    def phases(self) -> set[Phase]:
        return {item.phase for item in self.reconciler.plan.items}


def test_what_lies_in_a_prefix_of_its_eni_needs_no_call() -> None:
    run = Run(shown=True)
    run.let_pass(1)
    assert run.phases() == {Phase.CONFIRMED}
    assert run.cloud.calls == []
    assert run.cloud.metadata_reads == 0


@pytest.mark.parametrize("address", INSIDE)
def test_a_prefix_that_imds_shows_late_is_found_after_one_refusal(address: str) -> None:
    run = Run(addresses=[address])
    run.let_pass(5)
    assert run.phases() == {Phase.CONFIRMED}
    assert len(run.cloud.asked("assign")) == 1


@pytest.mark.parametrize("address", INSIDE)
def test_it_is_found_whatever_ec2_calls_the_refusal(address: str) -> None:
    run = Run(addresses=[address])
    # As the strict double does for IPv6: InvalidIPAddress.InUse.
    run.cloud.struck = [Strike("assign", Fault.HELD_ELSEWHERE)] * 99
    run.let_pass(60)
    assert run.phases() == {Phase.CONFIRMED}


@pytest.mark.parametrize("address", INSIDE)
def test_in_the_prefix_of_another_eni_it_is_refused_at_once(address: str) -> None:
    run = Run("eni-9", addresses=[address])
    begun = run.time.now
    while run.reconciler.step():
        run.time.sleep(0.1)
    assert run.time.now - begun < 1
    (item,) = run.reconciler.plan.items
    assert (item.phase, len(run.cloud.asked("assign"))) == (Phase.REFUSED, 1)
    assert item.failure
    prefix = PREFIXES[0] if "." in address else PREFIXES[1]
    assert (
        f"it lies in the prefix {prefix}, which is delegated to eni-9 (device number 9" in item.failure.text
    )
    error = error_of(item.failure)
    assert error.exit_code == ExitCode.ADDRESS_REFUSED
    assert "exclude the prefix" in error.remedy
    run.let_pass(3 * DESCRIBE_SECONDS)
    assert len(run.cloud.asked("assign")) == 1


def test_an_address_that_is_wanted_again_weeks_later_is_refused_with_its_prefix_again() -> None:
    """The node agent lives for months; which ENI has the prefix may have changed meanwhile."""
    run = Run("eni-9", addresses=[INSIDE[0]])
    run.let_pass(10)
    run.reconciler.set_desired([])
    run.let_pass(1e6)
    run.reconciler.set_desired([placement(INSIDE[0])])
    run.let_pass(10)
    (item,) = run.reconciler.plan.items
    assert item.failure is not None
    assert "10.10.1.96/28, which is delegated to eni-9" in item.failure.text
    assert [action for action, *_ in run.cloud.calls].count("prefix_holders") == 2


def test_good_addresses_of_the_batch_land_beside_it() -> None:
    run = Run("eni-9", addresses=["10.10.1.80", "10.10.1.100", "10.10.1.81"])
    run.let_pass(5)
    phases = {str(item.address): item.phase for item in run.reconciler.plan.items}
    assert phases == {
        "10.10.1.80": Phase.CONFIRMED,
        "10.10.1.100": Phase.REFUSED,
        "10.10.1.81": Phase.CONFIRMED,
    }


@pytest.mark.parametrize("shown", [True, False])
def test_it_is_never_released(shown: bool) -> None:
    run = Run(shown=shown)
    run.let_pass(5)
    assert run.reconciler.assigned(run.reconciler.plan.items) == frozenset()


@pytest.mark.parametrize("address", INSIDE)
def test_a_release_leaves_it_and_says_so(address: str) -> None:
    cloud = FakeCloud(Time(), prefixes={"eni-1": PREFIXES})
    (outcome,) = release(Unassign("eni-1", (ip(address),)), cloud)
    assert outcome.failure is None
    assert "stays on eni-1: it lies in that ENI's prefix" in outcome.text
    assert cloud.asked("unassign") == []


def test_watching_it_costs_one_describe_in_a_long_while_and_none_of_imds() -> None:
    run = Run(shown=True)
    run.let_pass(4 * DESCRIBE_SECONDS)
    assert run.phases() == {Phase.CONFIRMED}
    assert {kind for kind, _, _ in run.cloud.calls} == {"describe"}
    assert len(run.cloud.calls) <= 2 * 4 * 2
    assert run.cloud.metadata_reads == 0


def test_once_the_prefix_is_taken_off_the_address_is_assigned() -> None:
    run = Run(shown=True)
    run.let_pass(1)
    run.cloud.prefixes = {}
    run.let_pass(3 * DESCRIBE_SECONDS)
    assert run.phases() == {Phase.CONFIRMED}
    assert run.cloud.secondaries["eni-1"] == {ip(each) for each in INSIDE}
    assert len(run.reconciler.assigned(run.reconciler.plan.items)) == len(INSIDE)


@pytest.mark.parametrize("holder", ["nobody", "eni-9"])
def test_what_is_known_of_the_eni_from_before_does_not_bring_the_prefix_back(holder: str) -> None:
    run = Run(shown=True, addresses=INSIDE[:1])
    run.cloud.room = 0
    run.let_pass(1)
    run.cloud.prefixes = {holder: PREFIXES} if holder in run.cloud.primaries else {}
    run.let_pass(3 * DESCRIBE_SECONDS)
    assert Phase.CONFIRMED not in run.phases()
    # Another address has come or gone: a pod's agent reads its ENIs once.
    run.reconciler.set_desired([placement(INSIDE[0], OWN), placement("10.10.2.80", ENI_2)])
    assert Phase.CONFIRMED not in run.phases()


def test_an_address_in_a_prefix_that_moved_to_another_eni_is_a_conflict() -> None:
    run = Run(shown=True, addresses=INSIDE[:1])
    run.let_pass(1)
    run.cloud.prefixes = {"eni-9": PREFIXES}
    run.let_pass(3 * DESCRIBE_SECONDS)
    (item,) = run.reconciler.plan.items
    assert item.phase is Phase.REFUSED
    assert item.failure
    assert item.failure.fault is Fault.IN_PREFIX


def test_an_outage_while_it_is_watched_changes_nothing() -> None:
    run = Run(shown=True)
    run.cloud.struck = [Strike("describe", Fault.UNREACHABLE) for _ in range(1000)]
    run.let_pass(4 * DESCRIBE_SECONDS)
    assert run.phases() == {Phase.CONFIRMED}


def test_a_prefix_that_appears_later_ends_the_tries() -> None:
    failing = Failure(Fault.THROTTLED, "Request limit exceeded")
    plan = Plan(frozenset({Fault.THROTTLED})).with_desired([placement(INSIDE[0])])
    plan = replace(plan, items=(replace(plan.items[0], failure=failing),))
    (item,) = plan.with_desired([placement(INSIDE[0], OWN)]).items
    assert (item.phase, item.prefix, item.failure) == (Phase.CONFIRMED, PREFIXES[0], None)


def test_with_a_foreign_mac_the_eni_with_the_prefix_comes_first() -> None:
    twin = replace(ENI_2, subnet_cidrs=ENI_1.subnet_cidrs, prefixes=PREFIXES)
    held = Holding("net1", "5e:00:00:00:00:01", ip(INSIDE[0]))
    (found,) = place([held], Topology((ENI_1, twin))).placements
    assert found.eni == twin
