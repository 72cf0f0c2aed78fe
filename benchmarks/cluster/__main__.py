"""Measure how long pods take to start and print a table: `python -m benchmarks.cluster [--quick]`.

It needs root and what `make cluster` needs. Exit code 0 if everything ran, whether or not the figures reach
their targets; 1 if something did not run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.cluster.figures import Results, starts, targets
from benchmarks.cluster.run import FULL, QUICK, ProgramMissing, run
from benchmarks.cluster.table import render
from benchmarks.common import command
from tests.cluster.nodes.parts import PartsMissing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    benchmark = command.Benchmark(
        name="cluster",
        quick="two pods of each kind, five at once, two Guaranteed ones, two on prefixes; most stay",
        run=lambda quick: run(QUICK if quick else FULL),
        render=render,
        as_json=_as_json,
        errors=(PartsMissing, ProgramMissing, RuntimeError, OSError),
    )
    return command.main(benchmark, __doc__, arguments)


def _as_json(results: Results) -> dict[str, Any]:
    return {
        **dataclasses.asdict(results),
        "starts": {
            name: [dataclasses.asdict(each) for each in starts(found)]
            for name, found in (
                ("alone", results.alone),
                ("together", results.together),
                ("guaranteed", results.guaranteed),
                ("one_cpu", results.one_cpu),
                ("prefixes", results.prefixes),
            )
        },
        "targets": [dataclasses.asdict(each) for each in targets(results)],
    }


if __name__ == "__main__":
    sys.exit(main())
