"""The command line that every benchmark has: `python -m benchmarks.NAME [--quick] [--output json]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Results = TypeVar("Results")
Progress = Callable[[str], None]
"""Reports what a run is doing: one line on standard error; standard output is the table's."""


@dataclass(frozen=True, slots=True)
class Benchmark(Generic[Results]):
    """One benchmark: `run` measures, with True as briefly as is useful, `quick` says what that leaves out.

    `errors` are the exceptions that mean that something did not run; `broken` says, a sentence each, what the
    product promises and the results refute. `sections` measure parts of it, each by its name.
    """

    name: str
    quick: str
    run: Callable[[bool], Results]
    render: Callable[[Results], str]
    as_json: Callable[[Results], dict[str, Any]]
    errors: tuple[type[Exception], ...]
    broken: Callable[[Results], Sequence[str]] = lambda _: ()
    sections: Mapping[str, Callable[[bool], Results]] = field(default_factory=dict)


def progress(name: str) -> Progress:
    """Return what reports the progress of `make bench-NAME`."""

    def report(line: str) -> None:
        print(f"bench-{name}: {line}", file=sys.stderr, flush=True)

    return report


def main(
    benchmark: Benchmark[Results], description: str | None, arguments: Sequence[str] | None = None
) -> int:
    """Measure and print a table, or JSON.

    Returns 0 if everything ran, whether or not the figures reach their targets, 1 if something did not or a
    promise is broken.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark.name}", description=description)
    parser.add_argument("--quick", action="store_true", help=f"{benchmark.quick}: only a hint")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    if benchmark.sections:
        parser.add_argument("--only", choices=benchmark.sections, help="measure this section alone")
    options = parser.parse_args(arguments)
    run = benchmark.sections.get(getattr(options, "only", None) or "", benchmark.run)
    report = progress(benchmark.name)
    began = time.monotonic()
    try:
        results = run(options.quick)
    except benchmark.errors as error:
        report(f"failed: {error}")
        return 1
    as_json = options.output == "json"
    print(json.dumps(benchmark.as_json(results), indent=2) if as_json else benchmark.render(results))
    report(f"took {time.monotonic() - began:.0f} s")
    broken = benchmark.broken(results)
    for each in broken:
        report(f"BROKEN: {each}")
    return 1 if broken else 0
