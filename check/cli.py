"""`multus-eni check`: the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

CHECK = """\
Says what is wrong with Multus on AWS in a cluster, and what to do about it. It changes nothing.
docs/check.md explains each check."""

EXAMPLES = """\
A dump is a file, or a folder of files, of `kubectl get -A -o yaml`; docs/check.md has the command.

Exit code: 0 all is in order, 1 something does not work, 3 there are only warnings, 2 wrong input."""


def add_check(commands: Commands) -> None:
    """Add `check`."""
    check = commands.add_parser(
        "check",
        help="say what is wrong with Multus on AWS in a cluster",
        description=CHECK,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("--dump", type=Path, required=True, metavar="PATH", help="manifests of the cluster")
    check.add_argument(
        "--pre", action="store_true", help="only what has to be in order before the injector is installed"
    )
    check.add_argument("-n", "--namespace", default="", help="only the pods and settings of this namespace")
    check.add_argument("--pod", default="", help="only this pod of --namespace")
    check.add_argument(
        "-o",
        "--output",
        choices=("table", "short", "json"),
        default="table",
        help="form of the answer: short has only what is wrong (%(default)s)",
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from check.command import Options, run_command  # noqa: PLC0415 - --help needs none of this
    from check.model import Scope  # noqa: PLC0415 - nor this
    from check.render import Form  # noqa: PLC0415 - nor this
    from check.sources.dump import DumpError  # noqa: PLC0415 - nor this

    if options.pod and not options.namespace:
        print("multus-eni check: --pod needs --namespace", file=sys.stderr)
        return 2
    scope = Scope(options.namespace, options.pod, options.pre)
    try:
        return run_command(Options(options.dump, scope, Form(options.output)))
    except DumpError as error:
        print(f"multus-eni check: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1  # the reader of the output has closed the pipe
