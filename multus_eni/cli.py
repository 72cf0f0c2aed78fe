"""The `multus-eni` command: serve, inject and explain of the webhook, certs, check, and convert."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from certs.cli import add_certs
from common.python_gc import begin_startup
from common.version import VERSION
from multus_eni.completion import COMPLETE, add_completion, complete, kubectl_complete
from multus_eni.convert import add_convert
from webhook.cli.manifests import add_explain, add_inject
from webhook.cli.serve import add_serve

OWN_PACKAGES = frozenset({"certs", "check", "common", "ipagent", "multus_eni", "webhook"})

CLI_COMMANDS = ("check", "convert", "inject", "explain")
"""Those of the extra `cli`."""

DESCRIPTION = """\
The command of multus-eni-injector, whose webhook injects an agent into pods that attach to Multus networks:
EC2 then has their addresses as secondary addresses of the node's ENI before the app starts."""

EXAMPLES = """\
On a laptop, beside kubectl:

  multus-eni check                            what is wrong in the cluster, and what to do about it
  multus-eni explain deploy/web -n my-apps    whether its pods get the agent, and why
  multus-eni explain -f deployment.yaml       the same for a manifest, without a cluster

The chart runs serve and certs. COMMAND --help has more of each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 only if it did what it was asked to.

    Without arguments it runs those of this process, which is then all that the process does.
    """
    if arguments is not None:
        return _run(arguments)
    begin_startup()
    given = sys.argv[1:]
    code = _run(given)
    if given[:1] == ["serve"] or given[:2] == ["certs", "run"]:
        # Every log line is flushed. To take the interpreter apart would cost a sixth of a start's CPU time.
        os._exit(code)
    return code


def _run(arguments: Sequence[str]) -> int:
    given = list(arguments)
    parser = _parser()
    if given[:1] == [COMPLETE]:
        sys.stdout.write("".join(f"{each}\n" for each in complete(parser, given[1:])))
        return 0
    if not given:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(given)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN_PACKAGES:
            raise
        extra = "cli" if package == "kubernetes" or options.command in CLI_COMMANDS else "webhook"
        print(
            f"multus-eni {options.command}: the Python package {package} is not installed: install the extra "
            f"that has it, as in pipx install 'multus-eni-injector[{extra}]'",
            file=sys.stderr,
        )
        return 2


def complete_for_kubectl() -> int:
    """Answer kubectl, which completes `kubectl multus-eni`; the script `kubectl_complete-multus_eni`."""
    sys.stdout.write(kubectl_complete(_parser(), sys.argv[1:]))
    return 0


def _parser() -> argparse.ArgumentParser:
    # kubectl finds plugins by their files' names, and writes a dash in a command as an underscore there.
    program = "kubectl multus-eni" if Path(sys.argv[0]).name == "kubectl-multus_eni" else "multus-eni"
    parser = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        epilog=EXAMPLES.replace("multus-eni", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"multus-eni {VERSION}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    add_serve(commands)
    add_inject(commands)
    add_explain(commands)
    # The webhook's image leaves it out: it is for laptops, and reads what ipagent says of exit codes.
    if importlib.util.find_spec("check"):
        from check.cli import add_check  # noqa: PLC0415 - see above

        add_check(commands)
    add_certs(commands)
    add_convert(commands)
    add_completion(commands)
    return parser
