"""Measure the webhook and print a table: `python -m benchmarks.webhook [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run
or gave a wrong answer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.webhook.cores import TooFewCores
from benchmarks.webhook.load import LoadError
from benchmarks.webhook.progress import say
from benchmarks.webhook.results import Results, targets
from benchmarks.webhook.run import FULL, QUICK, run
from benchmarks.webhook.table import render
from tests.cluster.api import ApiError
from tests.cluster.processes import ProcessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhook", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each point once and shortly: only a hint")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        results = run(QUICK if options.quick else FULL)
    except (TooFewCores, LoadError, ProcessError, ApiError, TimeoutError, OSError, ValueError) as error:
        say(f"failed: {error}")
        return 1
    print(json.dumps(_as_json(results), indent=2) if options.output == "json" else render(results))
    say(f"took {time.monotonic() - began:.0f} s")
    return 0


def _as_json(results: Results) -> dict[str, Any]:
    found = dataclasses.asdict(results)
    return {**found, "targets": [dataclasses.asdict(target) for target in targets(results)]}


if __name__ == "__main__":
    sys.exit(main())
