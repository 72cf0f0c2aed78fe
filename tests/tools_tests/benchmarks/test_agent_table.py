"""The agent's figures, their limits and their table."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.agent.figures import (
    BARE,
    BOTOCORE,
    INIT,
    INIT_TLS,
    SLIM_INIT,
    Cost,
    Idle,
    Reaction,
    median_cost,
    reaction,
)
from benchmarks.agent.results import Results, Sidecars, figures
from benchmarks.agent.table import render
from benchmarks.common.memory import Memory
from tests.tools_tests.benchmarks.machine import MACHINE

pytestmark = pytest.mark.pure

RESULTS = Results(
    machine=MACHINE,
    turns=15,
    costs={
        BARE: Cost(0.01, 0.02, 10),
        BOTOCORE: Cost(0.3, 0.4, 66),
        INIT: Cost(0.09, 0.2, 31),
        INIT_TLS: Cost(0.1, 0.2, 32),
        SLIM_INIT: Cost(0.03, 0.05, 12),
    },
    direct=Sidecars(Memory(30, 20), Idle(30, 4, 0.5, 1), Reaction(200, 2.5, 9.5, 12)),
    slim=Sidecars(Memory(14, 7), Idle(30, 0, 0, 0), Reaction(200, 1.5, 2.5, 3)),
    notes=["Something to know."],
)


def verdicts(results: Results) -> dict[str, tuple[bool | None, bool | None]]:
    return {figure.what: (figure.met, figure.stretched) for figure in figures(results)}


def test_figures_on_their_limits_are_met() -> None:
    assert all(met is not False for both in verdicts(RESULTS).values() for met in both)


@pytest.mark.parametrize(
    ("change", "what", "expected"),
    [
        ({"costs": {INIT: Cost(0.151, 0.2, 31)}}, "init: CPU", (False, False)),
        ({"costs": {INIT: Cost(0.149, 0.2, 31)}}, "init: CPU", (True, False)),
        ({"costs": {INIT: Cost(0.09, 0.2, 45.1)}}, "init: peak RSS", (False, False)),
        ({"costs": {INIT_TLS: Cost(0.2, 0.2, 31)}}, "init, EC2 over TLS: CPU", (False, False)),
        ({"costs": {SLIM_INIT: Cost(0.031, 0.2, 14.1)}}, "slim init: CPU", (True, False)),
        ({"costs": {SLIM_INIT: Cost(0.03, 0.2, 14.1)}}, "slim init: peak RSS", (False, False)),
        ({"direct": {"started": Memory(40.1, 20)}}, "sidecar after its start: RSS", (False, False)),
        ({"slim": {"started": Memory(14.1, 7)}}, "slim sidecar after its start: RSS", (False, None)),
        (
            {"slim": {"idle": Idle(30, 1, 0.1, 0)}},
            "slim sidecar idle for 30 s: context switches",
            (False, None),
        ),
        (
            {"direct": {"idle": Idle(30, 5, 0.5, 1)}},
            "sidecar idle for 30 s: context switches (requests: 1)",
            (False, None),
        ),
        (
            {"direct": {"idle": Idle(30, 1, 0.5, 0)}},
            "sidecar idle for 30 s: context switches (requests: 0)",
            (False, None),
        ),
        (
            {"direct": {"reaction": Reaction(200, 5.1, 9, 12)}},
            "address added to EC2's call, 200 times: p50",
            (False, None),
        ),
        (
            {"direct": {"reaction": Reaction(200, 2, 20.1, 21)}},
            "address added to EC2's call, 200 times: p99",
            (False, None),
        ),
    ],
)
def test_a_figure_beyond_its_limit_is_missed(
    change: dict[str, object], what: str, expected: tuple[bool | None, bool | None]
) -> None:
    costs = change.get("costs")
    if isinstance(costs, dict):
        change = {"costs": {**RESULTS.costs, **costs}}
    for kind in ("direct", "slim"):
        if isinstance(changed := change.get(kind), dict):
            change = {kind: dataclasses.replace(getattr(RESULTS, kind), **changed)}
    found = verdicts(dataclasses.replace(RESULTS, **change))  # type: ignore[arg-type] # fields of the table
    assert found[what] == expected


def test_the_table_has_targets_ratios_machine_and_notes() -> None:
    text = render(RESULTS)
    (row,) = [line for line in text.splitlines() if line.startswith("| init: CPU")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "init: CPU",
        "0.090 s",
        "<= 0.150 s",
        "met",
        "<= 0.100 s",
        "met",
        "0.010 s",
        "9.00 x",
        "0.300 s",
        "0.30 x",
    ]
    for part in (
        "A CPU, 2 cores",
        "(quiet)",
        "botocore 1.44.5",
        "Medians of 15 turns",
        "- Something to know.",
    ):
        assert part in text


def test_medians_are_taken_figure_by_figure() -> None:
    found = median_cost([Cost(1, 30, 2), Cost(2, 10, 3), Cost(3, 20, 1)])
    assert found == Cost(2, 20, 2)


def test_a_reaction_is_the_time_from_the_address_to_its_call() -> None:
    found = reaction([1.0, 2.0, 3.0], [1.002, 2.001, 3.009])
    assert found.events == 3
    assert (found.p50, found.p99, found.longest) == pytest.approx((2, 9, 9))


@pytest.mark.parametrize(
    "received",
    [
        pytest.param([1.1], id="one address without a call"),
        pytest.param([1.1, 1.2], id="two calls for the first, none for the second"),
        pytest.param([0.9, 2.1], id="a call before its address"),
        pytest.param([1.1, 2.1, 2.2], id="a call too many"),
    ],
)
def test_each_address_must_have_its_own_call(received: list[float]) -> None:
    with pytest.raises(ValueError, match="2 addresses led to"):
        reaction([1.0, 2.0], received)
