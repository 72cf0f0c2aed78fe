"""How long pods take to start: the figures, their targets and their table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.cluster.figures import (
    BARE_PYTHON,
    BESIDE_ONE_CPU,
    GUARANTEED,
    INIT,
    INIT_MORE_CPU,
    NO_OP,
    NO_OP_SIDECAR,
    ON_PREFIXES,
    SIDECAR,
    SIDECAR_MORE_CPU,
    VARIANTS,
    WITHOUT,
    Results,
    starts,
    targets,
)
from benchmarks.cluster.readiness import is_ready
from benchmarks.cluster.table import render
from tests.tools_tests.benchmarks.machine import MACHINE

pytestmark = pytest.mark.pure

RESULTS = Results(
    machine=MACHINE,
    kubernetes="v1.36.3",
    size=20,
    alone={
        WITHOUT: [0.5, 0.7, 0.6],
        NO_OP: [1.0, 1.5, 0.5],
        INIT: [1.0, 1.125, 1.25],
        NO_OP_SIDECAR: [1.1, 1.1, 1.1],
        SIDECAR: [1.2, 1.3, 1.1],
    },
    together={WITHOUT: [5.0], NO_OP: [7.0], INIT: [8.5], NO_OP_SIDECAR: [8.0], SIDECAR: [9.0]},
    guaranteed={
        WITHOUT: [0.9],
        NO_OP: [2.5],
        INIT: [3.0],
        NO_OP_SIDECAR: [3.5],
        SIDECAR: [4.0],
        INIT_MORE_CPU: [2.5],
        SIDECAR_MORE_CPU: [3.0],
    },
    one_cpu={
        WITHOUT: [0.5],
        NO_OP: [1.0],
        INIT: [1.125],
        NO_OP_SIDECAR: [2.5],
        SIDECAR: [4.0],
        SIDECAR_MORE_CPU: [3.0],
    },
    prefixes={NO_OP: [1.0, 1.5], BARE_PYTHON: [1.25, 1.25], INIT: [1.25, 1.3125]},
)


def met(results: Results) -> list[bool | None]:
    return [each.met for each in targets(results)]


def test_each_variant_is_compared_with_the_no_op() -> None:
    found = {each.variant: each for each in starts(RESULTS.alone)}
    assert list(found) == list(VARIANTS)
    assert (found[NO_OP].mean, found[NO_OP].beyond, found[NO_OP].ratio) == (1.0, 0.0, 1.0)
    init = found[INIT]
    assert (init.mean, init.shortest, init.longest) == (1.125, 1.0, 1.25)
    assert (init.beyond, init.ratio) == (0.125, 1.125)
    assert found[WITHOUT].beyond == pytest.approx(-0.4)


def test_figures_within_their_limits_are_met() -> None:
    assert all(met(RESULTS))


@pytest.mark.parametrize(
    ("table", "slower", "missed"),
    [
        ("alone", {INIT: [1.18]}, [1]),
        ("alone", {INIT: [1.3]}, [0, 1]),
        ("together", {INIT: [8.6]}, [2]),
        ("alone", {SIDECAR: [1.3]}, [3]),
        ("alone", {NO_OP_SIDECAR: [1.0], INIT: [1.0]}, [3]),
        ("guaranteed", {INIT: [5.6]}, [4]),
        ("guaranteed", {SIDECAR: [6.6]}, [5]),
        ("one_cpu", {INIT: [1.3]}, [6]),
    ],
)
def test_a_figure_beyond_its_limit_misses_its_target(
    table: str, slower: dict[str, list[float]], missed: list[int]
) -> None:
    changed: dict[str, Any] = {table: {**getattr(RESULTS, table), **slower}}
    results = dataclasses.replace(RESULTS, **changed)
    assert [index for index, each in enumerate(met(results)) if not each] == missed


def test_on_prefixes_init_mode_is_compared_with_the_no_op_and_shown_beside_bare_python() -> None:
    assert [each.variant for each in starts(RESULTS.prefixes)] == list(ON_PREFIXES)
    late = dataclasses.replace(RESULTS, prefixes={NO_OP: [1.0], BARE_PYTHON: [1.0], INIT: [1.0625]})
    assert [each.what for each in targets(late) if not each.met] == [
        "init mode beyond the no-op, prefixes, backend node"
    ]


def test_the_table_has_every_variant_and_the_targets() -> None:
    text = render(RESULTS)
    for variant in (*GUARANTEED, BARE_PYTHON):
        shown = (VARIANTS, VARIANTS, GUARANTEED, BESIDE_ONE_CPU, ON_PREFIXES)
        tables = sum(variant in table for table in shown)
        assert sum(line.startswith(f"| {variant:<20} |") for line in text.splitlines()) == tables
    assert "| init mode            | 1.12 s |   1.00 s |  1.25 s |          +0.12 s | 1.12 x |" in text
    assert "Kubernetes v1.36.3" in text
    assert "### Targets" in text


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ([], False),
        ([{"type": "Initialized", "status": "True"}], False),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}], True),
    ],
)
def test_a_pod_is_ready_by_its_condition(conditions: list[dict[str, str]], ready: bool) -> None:
    assert is_ready({"status": {"conditions": conditions}}) is ready
    assert is_ready({}) is False
