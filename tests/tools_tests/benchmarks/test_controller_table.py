"""The controller at rest: its figures, their targets and their table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.controller.table import Replica, Results, render, targets
from tests.tools_tests.benchmarks.machine import MACHINE

pytestmark = pytest.mark.pure

LEADS, WAITS = Replica("leads", 0.5, 1.1, 47.4), Replica("waits", 0.8, 2.2, 43.8)
RESULTS = Results(MACHINE, nodes=20, seconds=60, calls=0, replicas=(WAITS, LEADS), resets=(20.0, 30.0, 135.0))


def test_figures_within_their_limits_are_met() -> None:
    assert all(each.met for each in targets(RESULTS))


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"calls": 1}, "calls to EC2 between two descriptions"),
        ({"replicas": (WAITS, Replica("leads", 1.1, 1.1, 47.4))}, "leader at rest: CPU a second"),
        ({"replicas": (LEADS, Replica("waits", 0.8, 2.2, 80.1))}, "replica: RSS"),
        (
            {"resets": (20.0, 2001.0)},
            "a node's resources that its kubelet has reset: until they are back, longest",
        ),
    ],
)
def test_a_figure_beyond_its_limit_misses_its_target(change: dict[str, Any], missed: str) -> None:
    changed = dataclasses.replace(RESULTS, **change)
    assert [each.what for each in targets(changed) if not each.met] == [missed]


def test_the_table_has_the_machine_the_replicas_and_the_targets() -> None:
    text = render(RESULTS)
    for part in (
        "A CPU, 2 cores",
        "20 nodes with 2 networks at rest for 60 s.",
        "| leads   |      0.50 ms |                       1.1 | 47.4 MB |",
        "they are back after p50 30 ms, longest 135 ms",
        "### Targets",
    ):
        assert part in text
