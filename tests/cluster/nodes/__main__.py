"""A cluster to play with: `python -m tests.cluster.nodes up|down|status|env|enis|kill|start`."""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipagent.controller.model.ec2_snapshot import NETWORK_TAG
from tests.cluster.helm import HelmError
from tests.cluster.nodes import background, stale_clusters
from tests.cluster.nodes.background import BackgroundCluster
from tests.cluster.nodes.cloud import CloudControl
from tests.cluster.nodes.parts import PartsMissing
from tests.cluster.processes import ProcessError

HINTS = """\
The cluster is up{release}; docs/try-it.md goes on from here. For this shell:

  {environment}

An application on the first ENI, unchanged, and its addresses on the ENIs of EC2's double:

  kubectl create namespace multus
  kubectl label namespace multus multus-eni.io/injection=enabled
  kubectl apply -f examples/nad-ipvlan.yaml -f examples/busybox-deployment.yaml
  kubectl -n multus rollout status deployment/busybox-deployment
  {python} -m tests.cluster.nodes enis
  {check} check

What EC2 was asked, and a fault (docs/testing.md has more of them):

  curl -s "$EC2/_double/journal?action=AssignPrivateIpAddresses" | python3 -m json.tool
  curl -s -X PUT "$EC2/_double/faults" \\
    -d '{{"faults": [{{"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded", "times": 5}}]}}'

Logs are in {cluster.folder}. `make cluster-down` ends it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where what was asked for is done."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.nodes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="tell how the cluster is reached, and whether its nodes are ready")
    commands.add_parser("env", help="print what a shell needs, for eval")
    commands.add_parser("enis", help="show which ENI has which addresses in EC2's double")
    commands.add_parser("down", help="end it, and remove what killed ones have left")
    for name, text in (("up", "start one, if none is up"), ("hold", "hold one until SIGTERM")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--no-chart", action="store_true", help="leave the installation to the user")
    for name, text in (
        ("kill", "end all that runs on a node, as a power cut does"),
        ("start", "boot it again"),
    ):
        commands.add_parser(name, help=text).add_argument("node", help="n1 or n2")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (PartsMissing, ProcessError, HelmError, TimeoutError) as error:
        _report(str(error))
        return 1


def _run(options: argparse.Namespace) -> int:
    command = options.command
    if command == "hold":
        background.hold(_report, chart=not options.no_chart)
        return 0
    if command == "up":
        return _up(["--no-chart"] if options.no_chart else [])
    if command == "down":
        return _down()
    found = background.find()
    if found is None:
        _report("no cluster is up: `make cluster` starts one")
        return 1
    if command in ("kill", "start"):
        return _ask(found, options.node, command)
    return {"status": _status, "env": _env, "enis": _enis}[command](found)


def _up(arguments: Sequence[str]) -> int:
    with _alone():
        found = background.find()
        if found is None:
            found = background.start(arguments, _pass_on)
        print(_hints(found))
    return 0


def _down() -> int:
    with _alone():
        found = background.find()
        if found:
            background.stop(found)
            _report("the cluster has ended")
        for name in stale_clusters.remove():
            _report(f"removed what {name} had left")
    return 0


def _ask(found: BackgroundCluster, node: str, action: str) -> int:
    if node not in found.nodes:
        _report(f"no node {node}: there are {', '.join(found.nodes)}")
        return 2
    background.request(found, node, action)
    return 0


def _env(found: BackgroundCluster) -> int:
    print(_environment(found))
    return 0


def _status(found: BackgroundCluster) -> int:
    print(_hints(found), end="\n\n", flush=True)
    environment = {**os.environ, "KUBECONFIG": found.kubeconfig}
    return subprocess.run(
        [f"{found.programs}/kubectl", "get", "nodes"], env=environment, check=False
    ).returncode


def _enis(found: BackgroundCluster) -> int:
    with CloudControl(found.ec2) as cloud:
        state = cloud.state()
    print("\n".join(eni_lines(state)))
    return 0


def eni_lines(state: Mapping[str, Any]) -> list[str]:
    """Write a line for each ENI of the double's state, those of a node together. Pure."""
    nodes = {each["id"]: each["tags"].get("Name", "") for each in state["instances"]}
    public = {(each["interface"], each["private"]): f"={each['public_ip']}" for each in state["elastic_ips"]}

    def line(eni: Mapping[str, Any]) -> str:
        single = (eni["primary"], *eni["secondaries"], *eni["ipv6s"])
        addresses = [f"{each}{public.get((eni['id'], each), '')}" for each in single]
        shown = " ".join([*addresses, *eni["ipv4_prefixes"], *eni["ipv6_prefixes"]])
        # The kernel's name of a NodeNetwork's ENI may be any.
        name = eni["tags"].get(NETWORK_TAG) or f"eth{eni['device']}"
        return f"{nodes.get(eni['instance'], '-'):3} {name:4}  {eni['id']}  {shown}"

    return sorted(map(line, state["interfaces"]))


def _hints(found: BackgroundCluster) -> str:
    release = f", with the release {found.release}" if found.release else ", without the chart"
    python = os.path.relpath(sys.executable)
    check = Path(python).parent / "multus-eni"
    return HINTS.format(
        cluster=found, environment=_environment(found), release=release, python=python, check=check
    )


def _environment(found: BackgroundCluster) -> str:
    return f"export KUBECONFIG={found.kubeconfig} PATH={found.programs}:$PATH EC2={found.ec2}"


@contextmanager
def _alone() -> Iterator[None]:
    """Let no two of these commands start or end clusters at the same time."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _report(line: str) -> None:
    _pass_on(line if line == background.UP else f"cluster: {line}")


def _pass_on(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
