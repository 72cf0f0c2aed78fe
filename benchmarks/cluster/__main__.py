"""Measure how long pods take to start and print a table: `python -m benchmarks.cluster [--quick]`.

It needs root and what `make cluster` needs. Exit code 0 if everything ran, whether or not the figures reach
their targets; 1 if something did not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.cluster.figures import Results, starts, targets
from benchmarks.cluster.progress import say
from benchmarks.cluster.run import FULL, QUICK, ProgramMissing, run
from benchmarks.cluster.table import render
from tests.cluster.nodes.parts import PartsMissing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one pod of each kind: only a hint")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        results = run(QUICK if options.quick else FULL)
    except (PartsMissing, ProgramMissing, RuntimeError, OSError) as error:
        say(f"failed: {error}")
        return 1
    print(json.dumps(_as_json(results), indent=2) if options.output == "json" else render(results))
    say(f"took {time.monotonic() - began:.0f} s")
    return 0


def _as_json(results: Results) -> dict[str, Any]:
    return {
        **dataclasses.asdict(results),
        "starts": {
            name: [dataclasses.asdict(each) for each in starts(found)]
            for name, found in (("alone", results.alone), ("together", results.together))
        },
        "targets": [dataclasses.asdict(each) for each in targets(results)],
    }


if __name__ == "__main__":
    sys.exit(main())
