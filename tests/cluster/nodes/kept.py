"""A cluster that stays up for a person: a process of its own holds it until it is told to end."""

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

from tests.cluster.helm import CHART, NAMESPACE, RELEASE, HelmError
from tests.cluster.nodes import cgroups, leftovers
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import find_parts
from tests.cluster.nodes.sandbox import ROOT, CommandError
from tests.cluster.processes import ProcessError
from tests.cluster.tools.binaries import find_binary
from tests.cluster.waiting import wait_for

DESCRIPTION = "kept.json"
UP = "up"
LOOK_EVERY = 0.5
"""Seconds between two looks for requests, and whether all parts of a kept cluster are alive."""
REQUEST = ".request"
"""How the name of a file ends that begins with a node's name and says what to do with it."""
FAILED = ".failed"
"""The same for one that says why that did not succeed."""
END_SECONDS = 60.0
LOGS = (f"--selector=app.kubernetes.io/instance={RELEASE}", "--all-containers", "--prefix", "--tail=20")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """How a kept cluster is reached; `release` tells of the chart, and is empty where it is not installed."""

    name: str
    owner: int
    folder: str
    kubeconfig: str
    programs: str
    ec2: str
    nodes: tuple[str, ...]
    release: str


def find() -> Kept | None:
    """Return the cluster that is kept on this machine, if any."""
    for name, folder in leftovers.folders():
        file = folder / DESCRIPTION
        if cgroups.owner_lives(name) and file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            return Kept(**{**found, "nodes": tuple(found["nodes"])})
    return None


def keep(say: Say, *, chart: bool) -> None:
    """Bring a cluster up and hold it until SIGTERM or SIGINT; `say` is told how far it is.

    Raises PartsMissing or ProcessError where it does not come up.
    """
    with _until_signal(), tempfile.TemporaryDirectory() as images:
        say("looking for programs and images; what has changed is built")
        parts = find_parts(Path(images))
        say("starting control plane, cloud and nodes")
        with Cluster(parts) as cluster:
            say(f"two nodes are ready after {cluster.startup_seconds:.1f} s")
            release = _install(cluster, say) if chart else ""
            _describe(cluster, release)
            say(UP)
            _log_to(cluster.folder / "keep.log")
            _hold(cluster, say)


def start(arguments: Sequence[str], say: Say) -> Kept:
    """Start a process that keeps a cluster, and return when it is up; what it says until then is passed on.

    Raises ProcessError where it ends before.
    """
    argv = [sys.executable, "-m", "tests.cluster.nodes", "keep", *arguments]
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
            say(line.rstrip("\n"))
    except BaseException:
        process.terminate()
        raise
    raise ProcessError(f"no cluster came up: its process ended with status {process.wait()}, see above")


def ask(kept: Kept, node: str, deed: str) -> None:
    """Let a kept cluster `kill` or `start` a node, to the end. Raises ProcessError, TimeoutError."""
    request = Path(kept.folder, f"{node}{REQUEST}")
    unfinished = request.with_suffix(".new")
    unfinished.write_text(deed, encoding="utf-8")
    unfinished.replace(request)
    wait_for(lambda: not request.exists(), f"{deed} of {node}", 120)
    failure = request.with_suffix(FAILED)
    if failure.exists():
        raise ProcessError(failure.read_text(encoding="utf-8"))


def end(kept: Kept) -> None:
    """End a kept cluster and wait until it has gone; its owner is killed where that takes too long."""
    os.kill(kept.owner, signal.SIGTERM)
    try:
        wait_for(lambda: not cgroups.owner_lives(kept.name), f"end of process {kept.owner}", END_SECONDS)
    except TimeoutError:
        os.kill(kept.owner, signal.SIGKILL)
        wait_for(lambda: not cgroups.owner_lives(kept.name), f"end of process {kept.owner}")
    leftovers.sweep()


def _install(cluster: Cluster, say: Say) -> str:
    program = find_binary("helm4") or find_binary("helm3")
    if program is None:
        say("the chart is not installed: neither helm4 nor helm3 was found (`make tools`)")
        return ""
    say("installing the chart")
    arguments = (RELEASE, CHART, f"--namespace={NAMESPACE}", "--create-namespace", "--wait", "--timeout=2m")
    try:
        cluster.helm(program).run("install", *arguments, values=cluster.agent_values(), timeout=180)
    except HelmError:
        say(cluster.kubectl("describe", "pods", f"--namespace={NAMESPACE}"))
        say(cluster.kubectl("logs", f"--namespace={NAMESPACE}", *LOGS))
        raise
    return f"{RELEASE} in {NAMESPACE}"


def _describe(cluster: Cluster, release: str) -> None:
    programs = cluster.folder / "bin"
    programs.mkdir()
    for name, tool in (("kubectl", "kubectl"), ("helm", "helm4")):
        if found := find_binary(tool):
            (programs / name).symlink_to(found)
    kept = Kept(
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
    unfinished.write_text(json.dumps(asdict(kept)), encoding="utf-8")
    unfinished.replace(file)


def _hold(cluster: Cluster, say: Say) -> None:
    trouble = ""
    while True:
        time.sleep(LOOK_EVERY)
        for request in cluster.folder.glob(f"*{REQUEST}"):
            _carry_out(cluster, request)
        try:
            cluster.check()
        except ProcessError as error:
            if str(error) != trouble:
                trouble = str(error)
                say(trouble)


def _carry_out(cluster: Cluster, request: Path) -> None:
    node, deed = cluster.nodes[request.name.removesuffix(REQUEST)], request.read_text(encoding="utf-8")
    failure = request.with_suffix(FAILED)
    failure.unlink(missing_ok=True)
    try:
        if deed == "kill":
            node.kill()
        elif not node.running:
            node.start()
    except (ProcessError, CommandError, TimeoutError) as error:
        failure.write_text(str(error), encoding="utf-8")
    request.unlink()


def _log_to(path: Path) -> None:
    """Let what is said go to a file: whoever started this process has gone."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())


class _Told(BaseException):
    """A signal said that it is time to end."""


@contextmanager
def _until_signal() -> Iterator[None]:
    """Leave the block in order at the first SIGTERM or SIGINT; more of them make no difference."""

    def told(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Told(number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        signal.signal(number, told)
    with suppress(_Told):
        yield
