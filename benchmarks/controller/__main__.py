"""Measure the controller of node networks: `python -m benchmarks.controller [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.common import command
from benchmarks.common.targets import with_targets
from benchmarks.controller.run import BenchError, run
from benchmarks.controller.table import render, targets
from tests.cluster.helm import HelmError
from tests.cluster.processes import ProcessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    benchmark = command.Benchmark(
        name="controller",
        quick="few nodes, a short rest",
        run=lambda quick: (
            run(nodes=3, seconds=10, resets=6) if quick else run(nodes=20, seconds=60, resets=40)
        ),
        render=render,
        as_json=lambda results: with_targets(results, targets(results)),
        errors=(BenchError, ProcessError, HelmError, OSError, TimeoutError, ValueError),
    )
    return command.main(benchmark, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
