"""The `multus-eni` command: serve, inject and explain of the webhook, and certs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from certs.cli import add_certs
from common.version import VERSION
from webhook.cli import add_explain, add_inject, add_serve

DESCRIPTION = """\
The mutating admission webhook of multus-eni-injector. It injects an agent into pods that attach to Multus
networks, so that EC2 has their addresses as secondary addresses of the node's ENI before the app starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 only if it did what it was asked to."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multus-eni", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"multus-eni {VERSION}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    add_serve(commands)
    add_inject(commands)
    add_explain(commands)
    add_certs(commands)
    return parser
