"""`make cluster`: up, again, down, and what is left of the machine in between, also after a crash.

The machine is one of the test's own: a network and a mount namespace in which nothing else changes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.nodes import cgroups, kept
from tests.cluster.nodes.images import BUSYBOX
from tests.cluster.nodes.kept import Kept
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.sandbox import ROOT, program
from tests.cluster.nodes.scripts import FOLDERS
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

WALK = ROOT / "docs" / "try-it.md"
LOOKS = (
    ("ip", "-d", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("ip", "netns"),
    ("iptables-save",),
    ("cat", "/proc/self/mounts", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ("cat", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops", "/proc/sys/vm/overcommit_memory"),
    ("hostname",),
)


@dataclass(frozen=True)
class Host:
    """A machine on which commands run; `folder` is where its temporary files are."""

    pid: int
    folder: Path

    def run(self, *argv: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone's folder."""
        enter = [program("nsenter"), f"--target={self.pid}", "--net", "--mount", f"--wd={ROOT}"]
        done = subprocess.run(
            [*enter, *argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, "TMPDIR": str(self.folder)},
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stderr}{done.stdout}"
        return done

    def cluster(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python -m tests.cluster.nodes`."""
        return self.run(sys.executable, "-m", "tests.cluster.nodes", *arguments, check=check)

    def kubectl(self, cluster: Kept, *arguments: str) -> str:
        """Run kubectl as a user of the kept cluster."""
        return self.run(
            f"{cluster.programs}/kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments
        ).stdout

    def nodes_ready(self) -> None:
        """Wait until `status` shows both nodes as Ready."""
        wait_for(lambda: self.cluster("status").stdout.count(" Ready ") == 2, "two Ready nodes", 120)

    def kept(self) -> Kept:
        """Return the cluster that is kept on it."""
        (file,) = self.folder.glob(f"*/{kept.DESCRIPTION}")
        return Kept(**json.loads(file.read_text(encoding="utf-8")))

    def look(self) -> dict[str, str]:
        """Tell how its network, mounts and settings are."""
        found = {" ".join(argv): self.run(*argv).stdout for argv in LOOKS}
        return found | {path: str(Path(path).exists()) for path in FOLDERS}


@pytest.fixture
def host(parts: Parts, tmp_path: Path) -> Iterator[Host]:  # noqa: ARG001 - without them there is no cluster
    script = "ip link set lo up && echo up && exec sleep infinity"
    argv = [program("unshare"), "--net", "--mount", "sh", "-c", script]
    folder = tmp_path / "tmp"
    folder.mkdir()
    with Process("host", argv, log=tmp_path / "host.log") as process:
        process.wait_until(lambda: "up" in process.tail(), "network", 30)
        found = Host(process.pid, folder)
        yield found
        found.cluster("down")


def processes_of(name: str) -> list[str]:
    """Return the processes of a cluster: named after its folder, or in its cgroups."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = [(folder / file).read_text("utf-8", "replace") for file in ("cmdline", "cgroup")]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(name in text for text in told):
            found.append(told[0])
    return found


def test_a_kept_cluster_leaves_its_machine_as_it_was(host: Host) -> None:
    before = host.look()
    up = host.cluster("up")
    assert "The cluster is up, with the release multus-eni-injector" in up.stdout
    cluster = host.kept()
    assert host.look() == before

    again = host.cluster("up")
    assert (again.stdout, again.stderr) == (up.stdout, "")
    assert host.kept() == cluster
    host.nodes_ready()
    assert "n2  eth1  eni-0a020000000000001  10.10.1.12" in host.cluster("enis").stdout
    # Helm waits until a Deployment is available, which may be before all of its replicas are.
    pods = ("get", "pods", "--all-namespaces")
    wait_for(
        lambda: host.kubectl(cluster, *pods).count("1/1     Running") == 3, "three pods of the release", 120
    )

    host.cluster("down")
    assert host.look() == before
    assert processes_of(cluster.name) == []
    assert cluster.name not in cgroups.names()
    assert list(host.folder.iterdir()) == []
    status = host.cluster("status", check=False)
    assert (status.returncode, status.stderr) == (
        1,
        "cluster: no cluster is up: `make cluster` starts one\n",
    )


def test_the_walk_in_the_docs_works(host: Host) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", WALK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    host.cluster("up")
    walk = ["bash", "-euxo", "pipefail", "-c", "\n".join(blocks)]
    done = host.run(*walk, check=False, timeout=1200)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # What the text says comes of it: addresses of three pods, one that moves, faults, a node that is back.
    assert re.search(r"n[12]  eth1  .* 10\.10\.1\.8[012]", done.stdout)
    moved = [line for line in done.stdout.splitlines() if "10.10.1.90" in line and "eth1  eni-" in line]
    assert len({line.split()[0] for line in moved}) == len(moved) == 1
    assert "RequestLimitExceeded" in done.stdout
    assert "PrivateIpAddressLimitExceeded" in done.stdout
    # The walk ends as soon as the node that was killed is back; the other one may have been waiting for it.
    host.nodes_ready()


def test_what_does_not_exist_is_named(host: Host) -> None:
    done = host.cluster("enis", check=False)
    assert (done.returncode, done.stderr) == (1, "cluster: no cluster is up: `make cluster` starts one\n")
    assert host.cluster("down").stderr == ""


def test_the_end_of_a_killed_cluster_is_complete_and_the_next_start_cleans_up(host: Host) -> None:
    before = host.look()
    host.cluster("up", "--no-chart")
    cluster = host.kept()
    for node in cluster.nodes:
        overrides = {"spec": {"nodeName": node, "terminationGracePeriodSeconds": 1}}
        host.kubectl(
            cluster,
            *("run", f"on-{node}", f"--image={BUSYBOX}", f"--overrides={json.dumps(overrides)}"),
            *("--", "sleep", "3600"),
        )
        host.kubectl(cluster, "wait", "--for=condition=Ready", f"pod/on-{node}", "--timeout=120s")
    assert any("sleep\x003600" in line for line in processes_of(cluster.name))

    os.kill(cluster.owner, signal.SIGKILL)
    wait_for(lambda: not processes_of(cluster.name), "end of all processes", 60)
    assert host.look() == before
    assert host.cluster("status", check=False).returncode == 1
    # Cgroups and files can't go by themselves.
    assert cluster.name in cgroups.names()
    assert Path(cluster.folder).exists()

    host.cluster("up", "--no-chart")
    assert cluster.name not in cgroups.names()
    assert not Path(cluster.folder).exists()
    assert host.kept().name != cluster.name
