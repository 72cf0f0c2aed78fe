"""`multus-eni check`: a snapshot, the checks, their results on standard output."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from check.model import Scope
from check.render import Form, render
from check.run import exit_code, run_checks
from check.sources.dump import read_dump


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    dump: Path
    scope: Scope
    form: Form


def run_command(options: Options) -> int:
    """Check, print and return the exit code: 0, 1 for an error, 3 for warnings. Raises DumpError."""
    results = run_checks(read_dump(options.dump), options.scope)
    text = render(results, options.form, colour=_colours(), unicode=_has_marks())
    sys.stdout.write(text)
    sys.stdout.flush()
    return exit_code(results)


def _colours() -> bool:
    # https://no-color.org
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _has_marks() -> bool:
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
