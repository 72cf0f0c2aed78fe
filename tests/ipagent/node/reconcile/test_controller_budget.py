"""How many calls a pod, or many pods of one node, may cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipagent.assign.addresses import parse_address
from ipagent.node.model.claim import ClaimState
from ipagent.node.reconcile.batch_window import INTERVALS, PATIENCE
from ipagent.node.reconcile.releases import RELEASES
from ipagent.node.reconcile.state import BUDGET, TOO_OFTEN
from tests.ipagent.node.pods import claim, holding, pod
from tests.ipagent.node.reconcile.controller_run import Run

pytestmark = pytest.mark.pure


class TestBudget:
    """EC2 calls that one pod causes are bounded, whatever it claims."""

    def calls(self, run: Run) -> int:
        return sum(count for kind, count in run.account.calls.items() if kind != "lookup")

    def test_a_pod_that_leaves_and_stays_in_turn_costs_few_calls(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        stays = claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True)
        for _ in range(500):
            for each in (replace(stays, leaving=True), stays):
                run.core.set_claim(each)
                run.live(0.6)
        changes = BUDGET.burst + 600 * BUDGET.refill
        assert self.calls(run) <= 4 * 2 * changes
        assert run.on() >= {"10.1.1.2"}
        # In the end it is served anyway.
        run.live(2 / BUDGET.refill)
        assert run.status().state is ClaimState.ASSIGNED
        assert run.on() == {"10.1.1.1", "10.1.1.2", "10.1.9.9"}

    def test_a_pod_that_adds_an_address_anew_again_and_again_costs_few_calls(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        for _ in range(500):
            run.core.set_claim(claim("a", "10.1.1.1", again=frozenset({parse_address("10.1.1.1")})))
            run.live(1.0)
        changes = BUDGET.burst + 500 * BUDGET.refill
        assert self.calls(run) <= 2 * changes + 4
        run.live(2 / BUDGET.refill)
        assert run.status().state is ClaimState.ASSIGNED

    def test_a_pod_beyond_its_budget_is_told_so_and_others_do_not_wait(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        for number in range(20):
            run.core.set_claim(claim("a", "10.1.1.1", f"10.1.9.{number + 1}"))
            run.live(0.1)
        assert run.status().state is ClaimState.PENDING
        assert TOO_OFTEN in run.status().message
        run.claims(claim("b", "10.1.1.2", "10.1.9.200"))
        assert run.status("b").state is ClaimState.ASSIGNED

    @pytest.mark.no_cover
    @pytest.mark.parametrize("anew", [False, True], ids=["the same pods", "pods made anew"])
    @pytest.mark.parametrize("count", [1, 20])
    def test_many_pods_of_a_namespace_cost_no_more_than_the_node_and_others_are_served(
        self, count: int, anew: bool
    ) -> None:
        """Each has a budget of its own, and a pod that is made anew has a fresh one."""
        run = Run()
        names = {number: f"pod-{number}" for number in range(count)}
        run.pods(*(pod(name, f"10.1.1.{number + 10}") for number, name in names.items()))
        before, begun = self.calls(run), run.time.now
        for turn in range(300):
            number = turn % count
            if anew:
                run.core.update_pod(pod(names[number], f"10.1.1.{number + 10}"), gone=True)
                names[number] = f"turn-{turn}"
                run.core.update_pod(pod(names[number], f"10.1.1.{number + 10}"))
            stated = f"10.1.1.{number + 10}", f"10.1.9.{number + 10}"
            leaving = bool(turn // count % 2)
            run.core.set_claim(claim(names[number], *stated, leaving=leaving, release_on_exit=True))
            run.live(0.2)
            if turn % 100 == 99:
                self.serves_another(run, f"10.1.1.{200 + turn // 100}")
        seconds = run.time.now - begun
        releases = RELEASES.burst + seconds * RELEASES.refill
        assert self.calls(run) - before <= 2 * releases + seconds / INTERVALS[1] + 20

    def serves_another(self, run: Run, address: str) -> None:
        run.core.update_pod(pod(address, address, namespace="quiet"))
        since = run.time.now
        while address not in run.on():
            run.live(0.2)
            assert run.time.now - since <= PATIENCE + INTERVALS[-1]


@pytest.mark.no_cover
def test_a_node_with_500_addresses_makes_few_calls_for_many_events() -> None:
    run = Run(room=600)
    for number in range(250):
        own = f"10.1.{2 + number // 200}.{number % 200 + 1}"
        both = (holding(own), holding(own.replace("10.1.", "10.2."), "net2"))
        run.core.update_pod(pod(f"pod-{number}", holdings=both))
        run.core.step()
        run.time.now += 0.02
    run.to_rest()
    assert len(run.on()) == len(run.on("eni-a-2")) == 250
    assert run.account.calls["assign"] <= 12
