"""The command line of the controller: `ipagent controller`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from common.agent_settings import Credentials, LogFormat, LogLevel
from common.arguments import add_log_level, port
from common.exit_codes import ExitCode

_ABOUT = """\
Gives each node that a NodeNetwork selects an ENI of that network: it creates, attaches, changes and
deletes ENIs, labels nodes, and removes their startup taint. One replica leads, by a Lease; it runs until
SIGTERM, and the ENIs stay where they are.

Environment: AWS_REGION, KUBECONFIG (outside of a pod), and what the AWS SDKs read. docs/networks.md explains
it.
"""


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        given = _parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    region = given.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    if not region:
        sys.stderr.write(
            "ipagent controller: the region is not known: set the chart's controller.region (--region); "
            "EKS gives AWS_REGION to pods with a role of their own alone\n"
        )
        return ExitCode.USAGE
    # Late: --help and mistakes need none of it.
    from common.kube.rest_config import pod_namespace  # noqa: PLC0415
    from ipagent.controller import main  # noqa: PLC0415
    from ipagent.controller.model.eips import read_grants  # noqa: PLC0415
    from ipagent.controller.model.state import Releases  # noqa: PLC0415

    namespace = given.namespace or pod_namespace()
    if not namespace:
        sys.stderr.write("ipagent controller: this process is not in a pod: give --namespace\n")
        return ExitCode.USAGE
    try:
        grants = read_grants(given.eips)
    except ValueError as error:
        sys.stderr.write(f"ipagent controller: --eips can't be read: {error}\n")
        return ExitCode.USAGE
    options = main.Options(
        cluster=given.cluster,
        region=region,
        namespace=namespace,
        lease_duration=given.lease_duration,
        releases=Releases(given.releases),
        credentials=Credentials(given.credentials),
        eips=grants,
        host=given.host,
        port=given.port,
        relay=given.relay,
        allowed=given.allowed_cidrs,
        networks_map=given.networks_configmap,
        slice_namespace=given.slice_namespace,
        log_level=LogLevel(given.log_level),
        log_format=LogFormat(given.log_format),
    )
    return main.run(options, env)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipagent controller", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cluster",
        required=True,
        type=_cluster,
        metavar="NAME",
        help="the cluster's name, in its ENIs' tags",
    )
    parser.add_argument("--region", help="of the nodes (AWS_REGION)")
    parser.add_argument("--namespace", help="of the Lease (in a pod: its own)")
    parser.add_argument(
        "--lease-duration",
        type=_seconds,
        default=15.0,
        metavar="SECONDS",
        help="after which another replica takes over from one that died; a leader renews the Lease every "
        "quarter of it, and gives up after two thirds (%(default)g)",
    )
    parser.add_argument(
        "--releases",
        choices=("on", "report", "off"),
        default="on",
        help="detach and delete ENIs: `report` leaves leaked ones, `off` all (%(default)s)",
    )
    parser.add_argument("--credentials", choices=[each.value for each in Credentials], default="chain")
    parser.add_argument(
        "--eips",
        default="{}",
        metavar="JSON",
        help="the Elastic IPs that the pods of each namespace may have, as docs/elastic-ips.md has it (none)",
    )
    parser.add_argument(
        "--relay",
        action="store_true",
        help="make the calls to EC2 that node agents with the backend central ask for",
    )
    parser.add_argument(
        "--allowed-cidrs",
        type=_cidrs,
        default=(),
        metavar="CIDR[,CIDR]...",
        help="with --relay: node agents can have addresses assigned in these alone (all)",
    )
    parser.add_argument(
        "--networks-configmap",
        default="",
        metavar="NAME",
        help="a ConfigMap of --namespace, in which the webhook is told the network of each "
        "NetworkAttachmentDefinition (not written)",
    )
    parser.add_argument(
        "--slice-namespace",
        default="",
        metavar="NAME",
        help="of whereabouts' NodeSlicePools, for networks whose ipam is Whereabouts (not written)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address for probes and metrics (%(default)s)")
    parser.add_argument("--port", type=port, default=0, help="port for them, 0 for any (%(default)s)")
    add_log_level(parser)
    parser.add_argument("--log-format", choices=[each.value for each in LogFormat], default="auto")
    return parser


def _cluster(text: str) -> str:
    if not 0 < len(text) <= 100 or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not a cluster's name of 1 to 100 characters")
    return text


def _cidrs(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(each.strip(), strict=False) for each in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 300:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 300")
    return float(text)
