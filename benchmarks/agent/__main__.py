"""Measure the agent and print a table: `python -m benchmarks.agent [--quick] [--output json]`.

Exit code 0 if everything ran, whether or not the figures reach their targets; 1 if something did not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.agent.progress import say
from benchmarks.agent.results import Results, figures
from benchmarks.agent.run import FULL, QUICK, run
from benchmarks.agent.stage import BenchError
from benchmarks.agent.table import render
from tests.netns import NamespacesForbidden


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few turns, a short rest: only a hint")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        results = run(QUICK if options.quick else FULL)
    except (NamespacesForbidden, BenchError, OSError, ValueError) as error:
        say(f"failed: {error}")
        return 1
    print(json.dumps(_as_json(results), indent=2) if options.output == "json" else render(results))
    say(f"took {time.monotonic() - began:.0f} s")
    return 0


def _as_json(results: Results) -> dict[str, Any]:
    found = dataclasses.asdict(results)
    judged = [
        {**dataclasses.asdict(figure), "met": figure.met, "stretched": figure.stretched}
        for figure in figures(results)
    ]
    return {**found, "figures": judged}


if __name__ == "__main__":
    sys.exit(main())
