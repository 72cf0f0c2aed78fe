"""Measure a fleet of node agents and print a table: `python -m benchmarks.fleet [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.common import command
from benchmarks.common.targets import with_targets
from benchmarks.fleet.results import targets
from benchmarks.fleet.run import FULL, QUICK, run
from benchmarks.fleet.stage import BenchError
from benchmarks.fleet.table import render
from common.kube.errors import ApiError, Unreachable
from tests.cluster.processes import ProcessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    benchmark = command.Benchmark(
        name="fleet",
        quick="few nodes and pods, a short rest",
        run=lambda quick: run(QUICK if quick else FULL),
        render=render,
        as_json=lambda results: with_targets(results, targets(results)),
        errors=(BenchError, ProcessError, ApiError, Unreachable, OSError, ValueError),
    )
    return command.main(benchmark, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
