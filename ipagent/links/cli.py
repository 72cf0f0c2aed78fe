"""The command line of `ipagent links`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.agent_settings import ENV_NODE_NAME, LogFormat, LogLevel
from common.arguments import add_log_level, port
from common.exit_codes import ExitCode

_ABOUT = """\
Sets up the interfaces that NodeNetworks give to this node: it finds each by its ENI's MAC, gives it its name
and MTU, sets it up, and does so again whenever something has undone it. For networks of prefixes it writes
the CNI configuration and reports which addresses pods have. It runs on the host network with the
capability NET_ADMIN alone until SIGTERM; the interfaces stay as they are.

Environment: MULTUS_ENI_NODE_NAME (the node's name, by the downward API), KUBECONFIG (outside of a pod).
docs/networks.md explains it.
"""


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        given = _parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    node = env.get(ENV_NODE_NAME)
    if not node:
        sys.stderr.write(
            f"ipagent links: {ENV_NODE_NAME} is not set: give it by the downward API "
            "(spec.nodeName), as the chart does\n"
        )
        return ExitCode.USAGE
    # Late: --help and mistakes need none of it.
    from ipagent.links import main  # noqa: PLC0415

    options = main.Options(
        node=node,
        cni_folder=given.cni_conf_dir,
        host=given.host,
        port=given.port,
        networkd=given.networkd,
        log_level=LogLevel(given.log_level),
        log_format=LogFormat(given.log_format),
    )
    return main.run(options, env)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipagent links", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address for probes and metrics (%(default)s)")
    parser.add_argument("--port", type=port, default=0, help="port for them, 0 for any (%(default)s)")
    parser.add_argument(
        "--cni-conf-dir",
        type=Path,
        metavar="FOLDER",
        help="where Multus reads the CNI configurations of networks; without it none are written",
    )
    parser.add_argument(
        "--networkd",
        type=Path,
        metavar="FOLDER",
        help="write files there by which systemd-networkd leaves the interfaces alone (/run/systemd/network)",
    )
    add_log_level(parser)
    parser.add_argument("--log-format", choices=[each.value for each in LogFormat], default="auto")
    return parser
