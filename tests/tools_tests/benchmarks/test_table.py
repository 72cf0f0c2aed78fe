"""The table and the targets."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.common.grid import grid
from benchmarks.common.memory import Memory
from benchmarks.common.targets import Target
from benchmarks.webhook.creates import Creates, Spread
from benchmarks.webhook.figures import BARE, CONSTANT, FLOOR, NONE, OURS, MemoryUse, Sample
from benchmarks.webhook.results import WITHOUT_TARGETS, ApiServer, Results, targets
from benchmarks.webhook.table import render
from tests.tools_tests.benchmarks.machine import MACHINE

pytestmark = pytest.mark.pure

CONSTANT_P50 = 2.9


def sample(rate: float, p99: float, *, p50: float = 1.0, client_cpu: float = 0.3) -> Sample:
    return Sample(rate, p50, p99, seconds=1.0, client_cpu=client_cpu, server_cpu=0.99)


def use(rss: float) -> MemoryUse:
    return MemoryUse(Memory(rss, rss - 5), Memory(rss, rss - 5))


def creates(p50: float, turns: int = 4) -> Creates:
    ratio = p50 / CONSTANT_P50
    added = Spread(p50 - 2, p50 - 2.5, p50 - 1.5, [p50 - 2] * turns)
    return Creates(p50, 20, added, Spread(ratio, ratio - 0.01, ratio + 0.02, [ratio] * turns), 0.125, 0)


def results(*, peers: bool = True, api_server: bool = True) -> Results:
    names = [OURS, FLOOR, BARE, *(["nri", "piw"] if peers else [])]
    rates = {
        OURS: sample(7000, 4),
        FLOOR: sample(10000, 2),
        BARE: sample(14000, 1),
        "nri": sample(1800, 18),
        "piw": sample(2000, 12),
    }
    p50 = {NONE: 2.0, OURS: 3.0, "nri": 3.5, "piw": 3.25, CONSTANT: CONSTANT_P50}
    lanes = (NONE, OURS, *names[3:], CONSTANT)
    return Results(
        machine=MACHINE,
        titles={name: f"the {name}" for name in names},
        repeats=3,
        connections=16,
        tls=["TLS 1.3"],
        sizes={"recorded": 11203},
        per_core={"recorded": {name: rates[name] for name in names}},
        memory={name: use(45) for name in names},
        start=[0.5, 0.7],
        api_server=ApiServer(
            version="v1.36.3",
            titles={name: f"by {name}" for name in lanes},
            seconds={1: 0.25},
            creates={1: {name: creates(p50[name]) for name in lanes}},
            bursts=3,
            burst={name: sample(500, 300) for name in lanes},
            burst_size=1000,
            burst_clients=100,
        )
        if api_server
        else None,
        notes=["Something was left out."],
    )


def verdicts(found: Results) -> dict[str, bool | None]:
    return {target.what: target.met for target in targets(found)}


def test_a_grid_is_a_table_in_markdown() -> None:
    assert grid([("name", "x"), ("a", "12345")]).splitlines() == [
        "| name |     x |",
        "| ---- | ----: |",
        "| a    | 12345 |",
    ]


def test_figures_that_reach_their_targets_are_met() -> None:
    assert set(verdicts(results()).values()) == {True}


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({OURS: sample(5900, 4)}, {"recorded: requests/s of the better peer (piw)"}),
        ({OURS: sample(7000, 4.1)}, {"recorded: p99 of that peer's"}),
        ({"nri": sample(2400, 18)}, {"recorded: requests/s of the better peer (nri)"}),
    ],
)
def test_a_figure_of_one_core_that_misses_is_said_to(change: dict[str, Sample], missed: set[str]) -> None:
    found = results()
    changed = dataclasses.replace(found, per_core={"recorded": {**found.per_core["recorded"], **change}})
    assert {what for what, met in verdicts(changed).items() if not met} == missed


@pytest.mark.parametrize("review", ["recorded", "10 KiB", "64 KiB", "256 KiB"])
def test_reviews_as_the_api_server_sends_them_are_judged(review: str) -> None:
    found = results()
    slow = {review: {**found.per_core["recorded"], OURS: sample(2000, 12)}}
    changed = dataclasses.replace(found, per_core=slow, sizes={review: 1})
    missed = {f"{review}: requests/s of the better peer (piw)", f"{review}: p99 of that peer's"}
    assert {what for what, met in verdicts(changed).items() if not met} == missed


@pytest.mark.parametrize("review", WITHOUT_TARGETS)
def test_reviews_without_targets_are_shown_and_not_judged(review: str) -> None:
    found = results()
    slow = {review: {**found.per_core["recorded"], OURS: sample(2000, 12)}}
    text = render(dataclasses.replace(found, per_core=slow, sizes={review: 1}))
    assert "missed" not in text
    (row, _) = [line for line in text.splitlines() if line.startswith(f"| {review}")]
    assert [cell.strip() for cell in row.strip("|").split("|")][-2:] == ["1.0 x", "1.00 x"]


def test_memory_start_and_added_time_that_miss_are_said_to() -> None:
    found = results()
    assert found.api_server is not None
    by_clients = {1: {**found.api_server.creates[1], OURS: creates(3.2)}}
    changed = dataclasses.replace(
        found,
        memory={**found.memory, OURS: use(67.2)},
        start=[0.5, 1.0],
        api_server=dataclasses.replace(found.api_server, creates=by_clients),
    )
    assert {what for what, met in verdicts(changed).items() if not met} == {
        "resident memory, right after the load: half of what the chart requests",
        "resident memory, at the end: half of what the chart requests",
        "p50 of a create, 1 client: of the constant answer's",
        "start to ready",
    }


def test_without_peers_nothing_is_compared_with_them() -> None:
    assert set(verdicts(results(peers=False))) == {
        "p50 of a create, 1 client: of the constant answer's",
        "resident memory, right after the load: half of what the chart requests",
        "resident memory, at the end: half of what the chart requests",
        "start to ready",
    }
    assert "peer" not in render(results(peers=False))


def test_the_table_names_machine_figures_targets_and_what_was_left_out() -> None:
    text = render(results())
    for part in (
        "A CPU, 2 cores",
        "CPU in use before: 4% (quiet)",
        "uvicorn 0.54.0",
        "| recorded, 11203 |",
        "7000 (1.0 / 4.0)",
        "70%",
        "3.5 x",
        "0.33 x",
        "kube-apiserver v1.36.3",
        "constant: by constant",
        "+1.25",
        "1.12 x (1.11 to 1.14)",
        "at most 12% of its core",
        "0.50, 0.70",
        "- Something was left out.",
    ):
        assert part in text


def test_without_an_api_server_the_rest_is_told() -> None:
    text = render(results(api_server=False))
    assert "kube-apiserver" not in text
    assert "of a create" not in text
    assert "### Memory" in text


def test_the_table_says_that_the_machine_was_busy() -> None:
    busy = dataclasses.replace(results(), machine=dataclasses.replace(MACHINE, busy=0.3))
    assert "NOT quiet" in render(busy)


def test_a_run_that_was_disturbed_is_said_to_be() -> None:
    found = results()
    assert "Other programs ran" not in render(found)
    disturbed = dataclasses.replace(found.per_core["recorded"][OURS], server_cpu=0.6)
    changed = dataclasses.replace(
        found, per_core={"recorded": {**found.per_core["recorded"], OURS: disturbed}}
    )
    assert "at least 60% of their core" in render(changed)
    assert "Other programs ran" in render(changed)


def test_a_missed_target_is_marked() -> None:
    found = results()
    slow = dataclasses.replace(found, start=[1.5])
    (row,) = [line for line in render(slow).splitlines() if line.startswith("| start to ready")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "start to ready",
        "< 1 s",
        "1.50 s",
        "missed",
    ]
    assert Target("start to ready", "< 1 s", "1.50 s", met=False) in targets(slow)


def test_a_ratio_stands_beside_its_target_with_its_interval() -> None:
    (row,) = [line for line in render(results()).splitlines() if line.startswith("| p50 of a create")]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        "<= 1.1 x",
        "1.03 x (1.02 to 1.05)",
        "met",
    ]


def test_turns_are_told_by_number_of_clients() -> None:
    found = results().api_server
    assert found is not None
    many = {
        name: creates(lane.p50, 36 if name in (OURS, CONSTANT) else 6)
        for name, lane in found.creates[1].items()
    }
    changed = dataclasses.replace(found, seconds={1: 0.25, 16: 1.0}, creates={1: found.creates[1], 16: many})
    text = render(dataclasses.replace(results(), api_server=changed))
    assert "of 0.25 s at 1 client: ours and constant 4, the others 4" in text
    assert "of 1 s at 16 clients: ours and constant 36, the others 6" in text
    assert "of fewer than 6 turns the least and the most" in text


def test_a_section_alone_is_a_table_of_its_own() -> None:
    found = dataclasses.replace(results(), per_core={}, memory={}, start=[])
    text = render(found)
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Through kube-apiserver v1.36.3",
        "### Targets",
    ]
    assert set(verdicts(found)) == {"p50 of a create, 1 client: of the constant answer's"}
