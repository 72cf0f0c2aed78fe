"""`multus-eni check`: the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.agent_settings import ContractError, parse_timeout
from common.arguments import add_kubeconfig

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

CHECK = """\
Says what is wrong with Multus on AWS in a cluster, and what to do about it. It changes nothing: one pod is
created with dryRun=All, which the API server does not store.
docs/check.md explains each check."""

EXAMPLES = """\
  multus-eni check --pre --aws               before you install
  multus-eni check --aws                     afterwards
  multus-eni check -n my-apps -o short       what is wrong in one namespace

A dump is a file, or a folder of files, of `kubectl get -A -o yaml`; docs/check.md has the command.

Exit code: 0 all is in order, 1 something does not work, 3 there are only warnings, 2 wrong input, or nothing
could be read."""


def add_check(commands: Commands) -> None:
    """Add `check`."""
    check = commands.add_parser(
        "check",
        help="say what is wrong with Multus on AWS in a cluster",
        description=CHECK,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "--dump", type=Path, metavar="PATH", help="look at these manifests instead of a live cluster"
    )
    add_kubeconfig(check)
    check.add_argument(
        "--aws",
        action="store_true",
        help="ask EC2, too, with the AWS credentials of this shell: about the nodes' ENIs, their subnets and "
        "their way to EC2. Nothing is changed",
    )
    check.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="TIME",
        help="look again while there are errors, for at most so long, as in 90s or 5m",
    )
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
    from check.command import Options, ScopeError, run_command  # noqa: PLC0415 - --help needs none of this
    from check.model import Scope  # noqa: PLC0415 - nor this
    from check.render import Form  # noqa: PLC0415 - nor this
    from check.sources.dump import DumpError  # noqa: PLC0415 - nor this
    from common.kube.errors import ApiError, ClusterError, Unreachable  # noqa: PLC0415 - nor this

    if options.pod and not options.namespace:
        print("multus-eni check: --pod needs --namespace", file=sys.stderr)
        return 2
    if options.dump and (options.wait or options.aws or options.context or options.kubeconfig):
        print("multus-eni check: --dump looks at files: leave out the options of a cluster", file=sys.stderr)
        return 2
    try:
        return run_command(
            Options(
                Scope(options.namespace, options.pod, options.pre),
                Form(options.output),
                options.dump,
                options.kubeconfig,
                options.context,
                options.wait,
                options.aws,
            )
        )
    except (ScopeError, DumpError, ClusterError, ApiError, Unreachable) as error:
        print(f"multus-eni check: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1  # the reader of the output has closed the pipe


def _seconds(text: str) -> float:
    try:
        return float(parse_timeout(text))
    except ContractError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
