"""Measure the agent and print a table: `python -m benchmarks.agent [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.agent.results import Results, figures
from benchmarks.agent.run import FULL, QUICK, run
from benchmarks.agent.stage import BenchError
from benchmarks.agent.table import render
from benchmarks.common import command
from tests.netns import NamespacesForbidden


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    benchmark = command.Benchmark(
        name="agent",
        quick="few turns, a short rest",
        run=lambda quick: run(QUICK if quick else FULL),
        render=render,
        as_json=_as_json,
        errors=(NamespacesForbidden, BenchError, OSError, ValueError),
    )
    return command.main(benchmark, __doc__, arguments)


def _as_json(results: Results) -> dict[str, Any]:
    found = dataclasses.asdict(results)
    judged = [
        {**dataclasses.asdict(figure), "met": figure.met, "stretched": figure.stretched}
        for figure in figures(results)
    ]
    return {**found, "figures": judged}


if __name__ == "__main__":
    sys.exit(main())
