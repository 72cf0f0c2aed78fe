"""Measure a fleet of node agents and print a table: `python -m benchmarks.fleet [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run, or
if EC2 was called for pods whose addresses lie in prefixes, or one of those pods did not get its address.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.common import command
from benchmarks.common.targets import with_targets
from benchmarks.fleet.plan import FULL, QUICK
from benchmarks.fleet.results import broken_promises, targets
from benchmarks.fleet.run import run
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
        broken=broken_promises,
        errors=(BenchError, ProcessError, ApiError, Unreachable, OSError, ValueError),
    )
    return command.main(benchmark, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
