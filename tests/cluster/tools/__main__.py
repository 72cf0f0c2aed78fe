"""Find the programs of the cluster and chart tests, build what is missing, and print where they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.cluster.tools.binaries import ALL, TOOLS, Missing, find_binaries, find_binary


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where all programs are there, or where --optional was given."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.tools", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--optional", action="store_true", help="succeed also where a program can't be built")
    options = parser.parse_args(arguments)
    names = options.names or ALL
    if unknown := [name for name in names if name not in TOOLS]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(TOOLS)}")
    return _provide(names, optional=options.optional)


def _provide(names: Sequence[str], *, optional: bool) -> int:
    found = find_binaries(names)
    if isinstance(found, Missing):
        # Imported late: the common case, in which all are found, should cost nothing.
        from tests.cluster.tools.build import BuildError, build, report_progress  # noqa: PLC0415

        try:
            build([TOOLS[name] for name in found.names])
        except BuildError as error:
            report_progress(f"{error}{'; the tests that need them are skipped' if optional else ''}")
            return 0 if optional else 1
    for name in names:
        print(f"{name}: {find_binary(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
