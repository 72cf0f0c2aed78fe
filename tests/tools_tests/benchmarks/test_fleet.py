"""The fleet's layout, its figures, their limits and their table."""

from __future__ import annotations

import dataclasses
from collections import Counter
from ipaddress import ip_address, ip_network
from random import Random

import pytest

from benchmarks.common import command
from benchmarks.fleet.figures import (
    ASSIGN,
    PREFIXES,
    SINGLE,
    THROTTLED,
    Call,
    Crowd,
    Ended,
    Failover,
    Latency,
    Moves,
    Outcome,
    Rest,
    Starts,
    Written,
    failover,
    latency,
    moves,
    outcome,
    read_calls,
    starts,
)
from benchmarks.fleet.layout import PER_ENI, PER_PREFIX, make_fleet, world
from benchmarks.fleet.pacing import SANDBOX, at_once, spread
from benchmarks.fleet.results import Central, Results, broken_promises, targets
from benchmarks.fleet.table import render
from tests.doubles.config.world_file import load_world
from tests.tools_tests.benchmarks.machine import MACHINE

pytestmark = pytest.mark.pure

ONCE = Outcome("800 pods at once", "node", 800, 0, 60, 20, 0, 1.0, 2.0, 2.5, 3.0)
SPREAD = Outcome("800 pods within 30 s", "node", 800, 0, 250, 20, 5, 1.5, 3.0, 4.0, 33.0)
FULL = Outcome("250 pods at once on one node", "node", 250, 0, 6, 1, 0, 0.5, 1.0, 1.0, 1.0)
DIRECT = Outcome("800 pods at once", "direct", 800, 3, 4000, 0, 3200, 60.0, 200.0, 220.0, 220.0, 307)
CENTRAL = Central(
    dataclasses.replace(ONCE, backend="central", assigns=70, other=10, span=4.5),
    Latency(100, 90.0, 95.0, 99.0, 80.0),
    dataclasses.replace(SPREAD, backend="central", assigns=260, other=10, span=49.5, throttled=0),
    Moves(40, 100.0, 120.0, 130.0),
    Failover(
        Outcome("800 pods at once, leader killed", "central", 800, 0, 50, 10, 0, 9.0, 9.0, 9.0, 9.0), 20.0
    ),
)
RESULTS = Results(
    MACHINE,
    (ONCE, SPREAD, FULL, DIRECT),
    (Crowd(20, 800, 60.0, 29.0), Crowd(1, 250, 50.0, 45.0)),
    Rest(60, 1.0, 0.1),
    Latency(100, 30.0, 40.0, 50.0, 20.0),
    Moves(40, 40.0, 50.0, 60.0),
    (
        Starts(SINGLE, "direct", False, 800, 0, 5990, 5190, 65.0, 150.0, 9000.0),
        Starts(PREFIXES, "node", False, 800, 0, 0, 0, 1.0, 2.0, 3000.0),
        Starts(PREFIXES, "direct", True, 800, 0, 0, 0, 1.0, 2.0, 4000.0),
    ),
    CENTRAL,
)


@pytest.mark.parametrize(("nodes", "pods"), [(20, 900), (1, 250), (4, 160), (200, 10_000), (3, 10)])
def test_a_fleet_is_a_world_in_which_every_address_has_room(nodes: int, pods: int) -> None:
    fleet = make_fleet("it", nodes, pods)
    made = load_world(world(fleet))
    assert made.throttling.enabled
    assert len(fleet.pods) == len({pod.address for pod in fleet.pods}) == pods
    assert max(Counter(pod.node.name for pod in fleet.pods).values()) <= -(-pods // nodes)
    assert max(Counter(pod.eni.id for pod in fleet.pods).values()) < PER_ENI
    subnets = {eni.id: made.subnets[eni.subnet].cidr for eni in made.interfaces.values()}
    for pod in fleet.pods:
        assert made.interfaces[pod.eni.id].mac == pod.eni.mac
        assert made.interfaces[pod.eni.id].instance == pod.node.instance_id
        assert str(subnets[pod.eni.id]).split(".")[:2] == pod.address.split(".")[:2]
    assert all(len(made.interfaces_of(node.instance_id)) >= 4 for node in fleet.nodes)


@pytest.mark.parametrize(("nodes", "pods"), [(20, 1600), (1, 784), (200, 10_000), (3, 10)])
def test_in_a_fleet_of_prefixes_each_address_lies_in_one_of_its_eni(nodes: int, pods: int) -> None:
    fleet = make_fleet("it", nodes, pods, delegated=True)
    made = load_world(world(fleet))
    assert len(fleet.pods) == len({pod.address for pod in fleet.pods}) == pods
    prefixes = [prefix for node in fleet.nodes for eni in node.enis for prefix in eni.prefixes]
    assert len(prefixes) == len(set(prefixes)) == nodes * -(-pods // nodes // PER_PREFIX)
    for pod in fleet.pods:
        assert made.interfaces[pod.eni.id].mac == pod.eni.mac
        assert pod.eni in pod.node.enis
        assert any(ip_address(pod.address) in ip_network(prefix) for prefix in pod.eni.prefixes)


def test_an_eni_has_no_more_prefixes_than_it_carries() -> None:
    with pytest.raises(ValueError, match="no ENI has the 50 prefixes"):
        make_fleet("it", 1, 785, delegated=True)


@pytest.mark.parametrize(("nodes", "pods"), [(0, 1), (201, 300), (5, 4), (1, 10_001)])
def test_a_fleet_has_limits(nodes: int, pods: int) -> None:
    with pytest.raises(ValueError, match="no fleet has"):
        make_fleet("it", nodes, pods)


def test_pods_come_at_the_same_instants_for_each_backend() -> None:
    pods = make_fleet("it", 4, 40).pods
    assert {each.status for each in at_once(pods)} == {0.0}
    times = [spread(pods, 30, Random(1)) for _ in range(2)]
    assert times[0] == times[1]
    assert sorted(each.pod.name for each in times[0]) == [pod.name for pod in pods]
    assert all(SANDBOX[0] <= each.status - each.made <= SANDBOX[1] for each in times[0])
    assert [each.status for each in times[0]] == sorted(each.status for each in times[0])


def call(at: float, *addresses: str, result: str = "ok", action: str = ASSIGN) -> Call:
    return Call(at, action, result, addresses)


def test_an_outcome_counts_from_each_pods_status_on() -> None:
    written = [Written("a", 10.0, 10.1), Written("b", 11.0, 11.2), Written("c", 12.0, 12.1)]
    calls = [
        call(9.0, action="DescribeNetworkInterfaces"),
        call(10.5, "a", "b", result=THROTTLED),
        call(11.5, "a"),
        call(13.0, "a", "b"),
        call(14.0, "c", result="PrivateIpAddressLimitExceeded"),
    ]
    found = outcome("it", "node", written, calls)
    assert (found.pods, found.missing, found.assigns, found.other, found.throttled) == (3, 1, 4, 1, 1)
    assert (found.p50, found.p99, found.longest) == (1.5, 2.0, 2.0)
    assert found.span == pytest.approx(3.0)
    with pytest.raises(ValueError, match="no address was assigned"):
        outcome("it", "node", written, calls[:2])


def test_a_latency_is_that_of_the_first_call_whatever_it_came_to() -> None:
    written = [Written("a", 10.0, 10.005), Written("b", 20.0, 20.004)]
    calls = [call(10.02, "a", result=THROTTLED), call(11.0, "a"), call(20.03, "b")]
    found = latency(written, calls)
    assert found.turns == 2
    assert [found.p50, found.longest, found.answered] == pytest.approx([20.0, 30.0, 15.0])
    with pytest.raises(ValueError, match="never asked for b"):
        latency(written, calls[:2])


def test_a_floating_address_is_waited_for_from_each_statement_until_ec2_has_moved_it() -> None:
    sent = [("f", 10.0), ("f", 20.0), ("f", 30.0)]
    calls = [
        call(9.0, "f"),
        call(10.01, "f", result="InvalidParameterValue"),
        call(10.03, "f"),
        call(20.02, "f"),
        call(30.04, "f", "g"),
    ]
    found = moves(sent, calls)
    assert found.turns == 3
    assert [found.p50, found.longest] == pytest.approx([30.0, 40.0])
    with pytest.raises(ValueError, match="EC2 has not moved f"):
        moves([*sent, ("f", 40.0)], calls)


def test_a_burst_has_recovered_when_the_last_address_is_assigned() -> None:
    found = failover(ONCE, 10.0, [call(9.0, "a"), call(15.0, "b"), call(24.0, "c"), call(30.0, "c")])
    assert (found.outcome, found.recovered) == (ONCE, 14.0)
    with pytest.raises(ValueError, match="before the leader was killed"):
        failover(ONCE, 31.0, [call(30.0, "c")])


def test_the_journal_is_read_without_imds() -> None:
    entry = {"monotonic": 1.0, "service": "ec2", "action": ASSIGN, "result": "ok"}
    params = {"NetworkInterfaceId": "eni-1", "PrivateIpAddress.1": "a", "PrivateIpAddress.2": "b"}
    journal = [{**entry, "params": params}, {**entry, "service": "imds", "params": {}}]
    assert read_calls(journal) == (call(1.0, "a", "b"),)


def test_starts_count_until_the_containers_end_and_all_calls_whatever_their_result() -> None:
    calls = [call(11.0, "a"), call(12.0, "b", result=THROTTLED), call(12.0, result="no answer")]
    ended = [Ended("a", 0, 11.0), Ended("b", 0, 13.0), Ended("c", 25, 14.0)]
    found = starts(ended, calls, begin=10.0, cpu_ms=5.0, addresses=SINGLE, backend="node", ec2_off=True)
    assert (found.pods, found.failed, found.calls, found.throttled) == (3, 1, 3, 1)
    assert (found.p50, found.longest, found.cpu_ms) == (3.0, 4.0, 5.0)
    assert found.name == "3 pods at once, single addresses, node, EC2 off"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"calls": 1}, "800 pods at once, prefixes, node: EC2 had 1 calls, and is to have none"),
        ({"failed": 2}, "800 pods at once, prefixes, node: 2 containers did not end with 0"),
    ],
)
def test_a_call_for_a_pod_in_a_prefix_and_a_pod_that_fails_break_a_promise(
    change: dict[str, int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    single, node, direct = RESULTS.starts
    changed = dataclasses.replace(node, **change)  # type: ignore[arg-type] # counts are whole
    results = dataclasses.replace(RESULTS, starts=(single, changed, direct))
    assert broken_promises(results) == [said]
    assert [target.what for target in targets(results) if not target.met] == [
        "800 pods at once, prefixes, node: calls to EC2, pods that failed"
    ]
    assert run_command(RESULTS) == 0
    assert run_command(results) == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == f"bench-it: BROKEN: {said}"
    assert "### Targets" in shown.out


def run_command(results: Results) -> int:
    benchmark = command.Benchmark(
        "it", "", lambda _: results, render, dataclasses.asdict, (OSError,), broken_promises
    )
    return command.main(benchmark, None, [])


def test_figures_on_their_limits_are_met() -> None:
    assert all(target.met for target in targets(RESULTS))
    assert "missed" not in render(RESULTS)


@pytest.mark.parametrize(
    ("place", "change", "missed"),
    [
        (0, {"assigns": 61}, "800 pods at once: Assign calls"),
        (0, {"span": 3.01}, "800 pods at once: until the last is assigned"),
        (0, {"missing": 1}, "800 pods at once: not assigned"),
        (1, {"assigns": 251}, "800 pods within 30 s: Assign calls"),
        (1, {"throttled": 6}, "800 pods within 30 s: throttled"),
        (1, {"p50": 1.6}, "800 pods within 30 s: p50"),
        (1, {"longest": 4.1}, "800 pods within 30 s: longest"),
        (2, {"missing": 1}, "250 pods at once on one node: not assigned"),
    ],
)
def test_figures_beyond_their_limits_are_missed(place: int, change: dict[str, float], missed: str) -> None:
    outcomes = list(RESULTS.outcomes)
    outcomes[place] = dataclasses.replace(outcomes[place], **change)  # type: ignore[arg-type] # counts are whole
    judged = targets(dataclasses.replace(RESULTS, outcomes=outcomes))
    assert [target.what for target in judged if not target.met] == [missed]


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"crowds": (Crowd(20, 800, 60.1, 29.0),)}, "node agent: peak RSS"),
        ({"rest": Rest(60, 1.1, 0.1)}, "node agent at rest: CPU a second"),
        (
            {"alone": Latency(9, 30.1, 40, 50, 20)},
            "a pod alone: network-status sent until EC2 has the call, p50",
        ),
    ],
)
def test_costs_beyond_their_limits_are_missed(change: dict[str, object], missed: str) -> None:
    judged = targets(dataclasses.replace(RESULTS, **change))  # type: ignore[arg-type] # of many types
    assert [target.what for target in judged if not target.met] == [missed]


@pytest.mark.parametrize(
    ("place", "change", "missed"),
    [
        ("once", {"span": 4.6}, "central, 800 pods at once: until the last is assigned"),
        ("once", {"other": 11}, "central, 800 pods at once: calls"),
        ("once", {"throttled": 1}, "central, 800 pods at once: throttled"),
        ("spread", {"missing": 1}, "central, 800 pods within 30 s: not assigned"),
        ("spread", {"assigns": 261}, "central, 800 pods within 30 s: calls"),
        ("alone", {"p50": 90.1}, "central, a pod alone: until EC2 has the call, p50"),
        ("moves", {"p50": 100.1}, "central, takeover of a floating address: p50"),
        (
            "killed",
            {"recovered": 20.1},
            "central, 800 pods at once, leader killed: from its end to the last address",
        ),
    ],
)
def test_the_backend_central_is_held_against_the_node_agents(
    place: str, change: dict[str, float], missed: str
) -> None:
    changed = dataclasses.replace(getattr(CENTRAL, place), **change)
    central = dataclasses.replace(CENTRAL, **{place: changed})
    judged = targets(dataclasses.replace(RESULTS, central=central))
    assert [target.what for target in judged if not target.met] == [missed]


def test_the_table_has_all_backends_beside_each_other() -> None:
    lines = render(RESULTS).splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| 800 pods at once ")
    ]
    assert [row[1] for row in rows] == ["node", "central", "direct"]
    assert rows[2][2:6] == ["4000", "0", "3200", "3"]
    assert [row[-1] for row in rows] == ["0", "0", "307"]


def test_the_table_has_prefixes_beside_single_addresses() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in render(RESULTS).splitlines()
        if line.startswith((f"| {SINGLE} ", f"| {PREFIXES} "))
    ]
    assert [row[:6] for row in rows] == [
        [SINGLE, "direct", "on", "800", "5990", "5190"],
        [PREFIXES, "node", "on", "800", "0", "0"],
        [PREFIXES, "direct", "off", "800", "0", "0"],
    ]
    assert [row[-1] for row in rows] == ["9.0 s", "3.0 s", "4.0 s"]
