"""`multus-eni check`: a snapshot, the checks, their results on standard output."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from check.model import Scope, Snapshot
from check.render import Form, render
from check.run import ERRORS, exit_code, run_checks
from check.sources.aws import with_aws
from check.sources.dump import read_dump
from check.sources.live import read_live
from common.kube.kubeconfig_client import KubeconfigClient

PAUSE = 2.0
"""Seconds between two looks while it waits."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    `wait` is for how many seconds to look again while there are errors, `aws` whether to ask EC2, too.
    """

    scope: Scope
    form: Form
    dump: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    wait: float = 0.0
    aws: bool = False


def run_command(options: Options) -> int:
    """Check, print and return the exit code: 0, 1 for an error, 3 for warnings.

    Raises DumpError, ClusterError, ApiError or Unreachable.
    """
    with _source(options) as look:
        deadline = time.monotonic() + options.wait
        results = run_checks(look(), options.scope)
        while exit_code(results) == ERRORS and time.monotonic() + PAUSE < deadline:
            time.sleep(PAUSE)
            results = run_checks(look(), options.scope)
    text = render(results, options.form, colour=_colours(), unicode=_has_marks())
    sys.stdout.write(text)
    sys.stdout.flush()
    return exit_code(results)


@contextmanager
def _source(options: Options) -> Iterator[Callable[[], Snapshot]]:
    if (dump := options.dump) is not None:
        yield lambda: read_dump(dump)
        return
    with KubeconfigClient("multus-eni-check", options.kubeconfig, options.context) as client:

        def look() -> Snapshot:
            found = read_live(client, options.scope)
            return with_aws(found) if options.aws else found

        yield look


def _colours() -> bool:
    # https://no-color.org
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _has_marks() -> bool:
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
