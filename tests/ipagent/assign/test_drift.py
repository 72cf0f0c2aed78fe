"""The slow check: what it costs, and what it finds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.address_state import Phase
from ipagent.assign.drift import DESCRIBE_SECONDS, METADATA_SECONDS, Drift
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.reconciler import Reconciler
from tests.ipagent.fakes import ENI_2, FakeCloud, Lines, Strike, Time, ip, placement

pytestmark = pytest.mark.pure

A, V6 = ip("10.10.1.80"), ip("2001:db8:1::80")


class Run:
    """A reconciler with assigned addresses, and what watches them."""

    def __init__(self, *wanted: str, **cloud: Any) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, **cloud)
        self.lines = Lines()
        self.reconciler = Reconciler(self.cloud, timing=self.time.timing, log=self.lines.log)
        self.reconciler.retry_until_healed()
        self.drift = Drift(self.reconciler, self.cloud, self.time.timing, self.lines.log)
        self.reconciler.set_desired([placement(address) for address in wanted or (str(A),)])
        self.wakeups = 0

    def let_pass(self, seconds: float) -> None:
        """Do what the sidecar's loop does, for so long."""
        until = self.time.now + seconds
        while True:
            delays = [self.reconciler.step(), self.drift.step()]
            delay = min((each for each in delays if each is not None), default=seconds)
            if self.time.now + delay > until:
                self.time.now = until
                return
            self.time.sleep(delay)
            self.wakeups += 1
            assert self.wakeups < 5000, "it spins"

    def phases(self) -> dict[str, Phase]:
        return {str(item.address): item.phase for item in self.reconciler.plan.items}


def test_nothing_assigned_is_nothing_to_watch() -> None:
    run = Run()
    assert run.drift.step() is None


def test_an_undisturbed_drift_check_reads_imds_and_rarely_ec2() -> None:
    run = Run(str(A), str(V6))
    run.let_pass(1)
    calls, reads = len(run.cloud.calls), run.cloud.metadata_reads
    run.wakeups = 0
    run.let_pass(4 * DESCRIBE_SECONDS)
    assert {kind for kind, *_ in run.cloud.calls[calls:]} == {"holders"}
    # One for each family, four times.
    assert len(run.cloud.calls) - calls <= 8
    assert run.wakeups == run.cloud.metadata_reads - reads <= 4 * DESCRIBE_SECONDS / METADATA_SECONDS
    assert run.lines.events("warning") == []


def test_between_the_rare_looks_ec2_is_not_asked_at_all() -> None:
    run = Run()
    run.let_pass(DESCRIBE_SECONDS - METADATA_SECONDS)
    assert run.cloud.asked("holders") == []
    run.let_pass(3 * METADATA_SECONDS)
    assert len(run.cloud.asked("holders")) == 1


def test_imds_that_still_shows_what_is_gone_is_found_out() -> None:
    run = Run(imds_delay=1e9)
    run.cloud.secondaries["eni-1"] = {A}
    run.let_pass(METADATA_SECONDS)
    assert run.phases() == {str(A): Phase.CONFIRMED}
    run.cloud.secondaries["eni-1"].clear()
    run.let_pass(2 * DESCRIBE_SECONDS)
    assert run.cloud.secondaries["eni-1"] == {A}
    assert run.lines.events("warning") == ["lost"]


def test_imds_that_does_not_show_what_is_there_costs_ever_fewer_calls() -> None:
    run = Run(imds_delay=1e9)
    run.let_pass(20)
    calls = len(run.cloud.asked("holders"))
    run.let_pass(3600)
    assert run.phases() == {str(A): Phase.CONFIRMED}
    assert len(run.cloud.asked("holders")) - calls < 20
    assert run.lines.events("warning") == []


def test_without_imds_ec2_is_asked_seldom_and_nothing_is_said() -> None:
    run = Run(imds=False)
    run.let_pass(20)
    run.wakeups = 0
    run.cloud.secondaries["eni-1"].clear()
    run.let_pass(3 * DESCRIBE_SECONDS)
    assert run.cloud.secondaries["eni-1"] == {A}
    assert run.wakeups < 20
    assert run.lines.events("warning") == ["lost"]


def test_without_the_right_to_look_it_is_said_once() -> None:
    run = Run(struck=[Strike("holders", Fault.NO_PERMISSION)] * 100)
    run.let_pass(1)
    run.cloud.secondaries["eni-1"].clear()
    run.let_pass(7200)
    assert run.lines.events("warning") == ["unwatched"]
    assert len(run.cloud.asked("assign")) == 1


def test_a_conflict_ends_when_the_eni_has_it_back() -> None:
    run = Run()
    run.let_pass(1)
    run.cloud.secondaries = {"eni-1": set(), "eni-2": set(), "eni-9": {A}}
    run.let_pass(2 * METADATA_SECONDS)
    assert run.phases() == {str(A): Phase.TAKEN}
    run.cloud.secondaries = {"eni-1": {A}, "eni-2": set(), "eni-9": set()}
    run.let_pass(2 * DESCRIBE_SECONDS)
    assert run.phases() == {str(A): Phase.CONFIRMED}
    assert len(run.cloud.asked("assign")) == 1


def test_one_eni_in_trouble_does_not_hide_another() -> None:
    run = Run()
    run.reconciler.set_desired([placement(str(A)), placement("10.10.2.80", ENI_2, "net2")])
    run.let_pass(1)
    run.cloud.secondaries = {"eni-1": set(), "eni-2": set(), "eni-9": set()}
    run.cloud.struck = [Strike("holders", Fault.THROTTLED)]
    run.let_pass(10 * METADATA_SECONDS)
    assert run.cloud.secondaries == {"eni-1": {A}, "eni-2": {ip("10.10.2.80")}, "eni-9": set()}


thefts = st.lists(
    st.tuples(st.sampled_from([A, V6]), st.sampled_from(["nobody", "eni-9", "eni-1"]), st.floats(1, 1000)),
    max_size=6,
)


@given(thefts, st.sampled_from([0.0, 10.0, 400.0]), st.booleans())
def test_in_the_end_every_address_is_here_or_a_known_conflict(
    moves: list[tuple[Any, str, float]], imds_delay: float, imds: bool
) -> None:
    run = Run(str(A), str(V6), imds_delay=imds_delay, imds=imds)
    run.let_pass(60)
    for address, to, seconds in moves:
        for held in run.cloud.secondaries.values():
            held.discard(address)
        if to != "nobody":
            run.cloud.secondaries[to].add(address)
        run.let_pass(seconds)
    elsewhere = set(run.cloud.secondaries["eni-9"])
    run.let_pass(3 * DESCRIBE_SECONDS)
    assert run.cloud.secondaries["eni-9"] == elsewhere
    for item in run.reconciler.plan.items:
        assert item.phase is (Phase.TAKEN if item.address in elsewhere else Phase.CONFIRMED)
        assert (item.address in run.cloud.secondaries["eni-1"]) is (item.address not in elsewhere)
