"""Measure a fleet of node agents and print a table: `python -m benchmarks.fleet [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence

from benchmarks.fleet.progress import say
from benchmarks.fleet.results import targets
from benchmarks.fleet.run import FULL, QUICK, run
from benchmarks.fleet.stage import BenchError
from benchmarks.fleet.table import render
from common.kube.errors import ApiError, Unreachable
from tests.cluster.processes import ProcessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few nodes and pods, a short rest: only a hint")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        results = run(QUICK if options.quick else FULL)
    except (BenchError, ProcessError, ApiError, Unreachable, OSError, ValueError) as error:
        say(f"failed: {error}")
        return 1
    if options.output == "json":
        judged = [dataclasses.asdict(target) for target in targets(results)]
        print(json.dumps({**dataclasses.asdict(results), "targets": judged}, indent=2))
    else:
        print(render(results))
    say(f"took {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
