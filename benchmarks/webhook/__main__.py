"""Measure the webhook and print a table: `python -m benchmarks.webhook [--quick] [--output json]`.

`--only api` measures nothing but the creates through the API server.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run
or gave a wrong answer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.common import command
from benchmarks.common.targets import with_targets
from benchmarks.webhook.cores import TooFewCores
from benchmarks.webhook.load import LoadError
from benchmarks.webhook.results import targets
from benchmarks.webhook.run import FULL, QUICK, only_api_server, run
from benchmarks.webhook.table import render
from tests.cluster.api import ApiError
from tests.cluster.processes import ProcessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    benchmark = command.Benchmark(
        name="webhook",
        quick="few turns, short ones",
        run=lambda quick: run(QUICK if quick else FULL),
        sections={"api": lambda quick: run(only_api_server(QUICK if quick else FULL))},
        render=render,
        as_json=lambda results: with_targets(results, targets(results)),
        errors=(TooFewCores, LoadError, ProcessError, ApiError, TimeoutError, OSError, ValueError),
    )
    return command.main(benchmark, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
