"""`make cluster`: a cluster that a background process holds until it gets a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.cluster.helm import CHART, NAMESPACE, RELEASE, HelmError
from tests.cluster.nodes import cgroups, stale_clusters
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import find_parts
from tests.cluster.nodes.plan import account
from tests.cluster.nodes.plugger import Plugger
from tests.cluster.nodes.sandbox import ROOT, CommandError
from tests.cluster.processes import ProcessError
from tests.cluster.tools.binaries import find_binary
from tests.cluster.waiting import wait_for

DESCRIPTION = "cluster.json"
UP = "up"
LOOK_EVERY = 0.5
"""Seconds between two looks for requests, and whether all parts of the cluster are alive."""
REQUEST = ".request"
"""How the name of a file ends that begins with a node's name and says what to do with it."""
FAILED = ".failed"
"""The same for one that says why that did not succeed."""
END_SECONDS = 60.0
LOGS = (f"--selector=app.kubernetes.io/instance={RELEASE}", "--all-containers", "--prefix", "--tail=20")

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BackgroundCluster:
    """How the cluster is reached; `release` is the chart's, and empty where it is not installed."""

    name: str
    owner: int
    folder: str
    kubeconfig: str
    programs: str
    ec2: str
    nodes: tuple[str, ...]
    release: str


def find() -> BackgroundCluster | None:
    """Return the cluster that runs on this machine, if any."""
    for name, folder in stale_clusters.folders():
        file = folder / DESCRIPTION
        if cgroups.owner_lives(name) and file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            return BackgroundCluster(**{**found, "nodes": tuple(found["nodes"])})
    return None


def hold(report: Report, *, chart: bool) -> None:
    """Start a cluster and hold it until SIGTERM or SIGINT; `report` gets progress lines.

    Raises PartsMissing or ProcessError where it does not come up.
    """
    with _until_signal(), tempfile.TemporaryDirectory() as images:
        report("looking for programs and images; what has changed is built")
        parts = find_parts(Path(images))
        report("starting control plane, cloud and nodes")
        with (
            Cluster(parts, account=account()) as cluster,
            cluster.plugger(round_seconds=LOOK_EVERY) as plugger,
        ):
            report(f"two nodes are ready after {cluster.startup_seconds:.1f} s")
            release = _install(cluster, report) if chart else ""
            _describe(cluster, release)
            report(UP)
            _log_to(cluster.folder / "hold.log")
            _hold(cluster, plugger, report)


def start(arguments: Sequence[str], report: Report) -> BackgroundCluster:
    """Start a process that holds a cluster, and return when it is up; its output until then is passed on.

    Raises ProcessError where it ends before.
    """
    argv = [sys.executable, "-m", "tests.cluster.nodes", "hold", *arguments]
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # It outlives the terminal.
        start_new_session=True,
    )
    try:
        for line in process.stdout or ():
            if line.strip() == UP and (found := find()):
                return found
            report(line.rstrip("\n"))
    except BaseException:
        process.terminate()
        raise
    raise ProcessError(f"no cluster came up: its process ended with status {process.wait()}, see above")


def request(cluster: BackgroundCluster, node: str, action: str) -> None:
    """Have the cluster `kill` or `start` a node, and wait for that. Raises ProcessError, TimeoutError."""
    file = Path(cluster.folder, f"{node}{REQUEST}")
    unfinished = file.with_suffix(".new")
    unfinished.write_text(action, encoding="utf-8")
    unfinished.replace(file)
    wait_for(lambda: not file.exists(), f"{action} of {node}", 120)
    failure = file.with_suffix(FAILED)
    if failure.exists():
        raise ProcessError(failure.read_text(encoding="utf-8"))


def stop(cluster: BackgroundCluster) -> None:
    """Stop the cluster and wait until it has gone; its owner is killed where that takes too long."""
    os.kill(cluster.owner, signal.SIGTERM)
    try:
        _wait_for_end(cluster, END_SECONDS)
    except TimeoutError:
        os.kill(cluster.owner, signal.SIGKILL)
        _wait_for_end(cluster)
    stale_clusters.remove()


def _wait_for_end(cluster: BackgroundCluster, timeout: float = 30.0) -> None:
    wait_for(lambda: not cgroups.owner_lives(cluster.name), f"end of process {cluster.owner}", timeout)


def _install(cluster: Cluster, report: Report) -> str:
    program = find_binary("helm4") or find_binary("helm3")
    if program is None:
        report("the chart is not installed: neither helm4 nor helm3 was found (`make tools`)")
        return ""
    report("installing the chart")
    arguments = (RELEASE, CHART, f"--namespace={NAMESPACE}", "--create-namespace", "--wait", "--timeout=2m")
    try:
        cluster.helm(program).run("install", *arguments, values=_values(cluster), timeout=180)
    except HelmError:
        report(cluster.kubectl("describe", "pods", f"--namespace={NAMESPACE}"))
        report(cluster.kubectl("logs", f"--namespace={NAMESPACE}", *LOGS))
        raise
    return f"{RELEASE} in {NAMESPACE}"


def _values(cluster: Cluster) -> dict[str, Any]:
    """Return the chart's values: whatever a user switches on later finds EC2's double, too."""
    values = cluster.agent_values()
    endpoint = {"extraEnv": values["agent"]["env"]}
    return {**values, "nodeAgent": endpoint, "controller": endpoint}


def _describe(cluster: Cluster, release: str) -> None:
    programs = cluster.folder / "bin"
    programs.mkdir()
    for name, tool in (("kubectl", "kubectl"), ("helm", "helm4")):
        if found := find_binary(tool):
            (programs / name).symlink_to(found)
    described = BackgroundCluster(
        name=cluster.name,
        owner=os.getpid(),
        folder=str(cluster.folder),
        kubeconfig=str(cluster.kubeconfig),
        programs=str(programs),
        ec2=cluster.cloud.url,
        nodes=tuple(cluster.nodes),
        release=release,
    )
    file = cluster.folder / DESCRIPTION
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(described)), encoding="utf-8")
    unfinished.replace(file)


def _hold(cluster: Cluster, plugger: Plugger, report: Report) -> None:
    problem = ""
    while True:
        time.sleep(LOOK_EVERY)
        for file in cluster.folder.glob(f"*{REQUEST}"):
            _carry_out(cluster, file)
        try:
            cluster.check()
            plugger.check()
        except ProcessError as error:
            if str(error) != problem:
                problem = str(error)
                report(problem)


def _carry_out(cluster: Cluster, file: Path) -> None:
    node, action = cluster.nodes[file.name.removesuffix(REQUEST)], file.read_text(encoding="utf-8")
    failure = file.with_suffix(FAILED)
    failure.unlink(missing_ok=True)
    try:
        if action == "kill":
            node.kill()
        elif not node.running:
            node.start()
    except (ProcessError, CommandError, TimeoutError) as error:
        failure.write_text(str(error), encoding="utf-8")
    file.unlink()


def _log_to(path: Path) -> None:
    """Send output to a file: the process that started this one has ended."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())


class _Stopped(BaseException):
    """A signal asked for the end."""


@contextmanager
def _until_signal() -> Iterator[None]:
    """Leave the block in order at the first SIGTERM or SIGINT; more of them make no difference."""

    def stop_once(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        signal.signal(number, stop_once)
    with suppress(_Stopped):
        yield
