"""The command line of the node agent: `ipagent node --config FILE`, and `ipagent node status`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.exit_codes import ExitCode

RECORD = Path("/var/lib/multus-eni-injector")
"""The agent's folder on the node: whose addresses were, and the socket for `status`."""

_ABOUT = """\
The node agent: it watches the pods of its node and has EC2 assign their addresses, many by one call. With
the backend `node` it answers the containers that the webhook has put into pods, which then need no rights
of AWS. It runs on the host network until SIGTERM; the addresses stay where they are.

Environment: MULTUS_ENI_NODE_NAME and MULTUS_ENI_HOST_IP (the node's name and address, by the downward API),
MULTUS_ENI_POD_NAMESPACE and MULTUS_ENI_POD_NAME (the agent's own pod: a list without it is not complete),
AWS_REGION, MULTUS_ENI_INSTANCE_ID (both known by IMDS), KUBECONFIG (outside of a pod), and what the AWS SDKs
read. docs/node-agent.md explains the settings.
"""


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    if options.what == "status":
        return _status(options)
    if options.config is None:
        sys.stderr.write("ipagent node: --config FILE is missing; `ipagent node --help` says more\n")
        return ExitCode.USAGE
    # Late: `status` and mistakes need none of it.
    from ipagent.node import main  # noqa: PLC0415

    return main.run(options.config, options.record, env)


def _status(options: argparse.Namespace) -> int:
    from ipagent.node.observe.status_command import (  # noqa: PLC0415 - as above
        NotRunning,
        ask,
        to_text,
    )

    try:
        found = ask(options.record)
    except NotRunning as error:
        if options.output == "json":
            sys.stdout.write(json.dumps({"error": {"message": str(error)}}, indent=2) + "\n")
        else:
            sys.stderr.write(f"ipagent node status: {error}\n")
        return ExitCode.NODE_AGENT_UNREACHABLE
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if options.output == "json" else to_text(found))
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipagent node", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, JSON as the chart writes them")
    parser.add_argument(
        "--record",
        type=Path,
        default=RECORD,
        metavar="FOLDER",
        help="what outlives it (%(default)s)",
    )
    commands = parser.add_subparsers(dest="what", metavar="status", title="commands")
    status = commands.add_parser(
        "status",
        help="what the running agent knows",
        description="The running agent's state: addresses by pod, and leaked ones.",
    )
    status.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="for people or machines"
    )
    return parser
