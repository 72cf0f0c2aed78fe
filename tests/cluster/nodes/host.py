"""A machine of a test's own on which a user runs `make cluster`, and what a cluster changes on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.nodes import background
from tests.cluster.nodes.background import BackgroundCluster
from tests.cluster.nodes.host_state import HostState, changes
from tests.cluster.nodes.sandbox import ROOT, program
from tests.cluster.nodes.scripts import FOLDERS
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for

STATE = (
    ("ip", "-d", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("ip", "netns"),
    ("iptables-save",),
    ("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ("cat", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops", "/proc/sys/vm/overcommit_memory"),
    ("hostname",),
)
"""What shows a machine's settings: those of its network, and some that all of a kernel share."""
STORES = "/containers/storage/"
"""What is in the path of each folder that a build of images mounts, and soon makes again under its name."""


@dataclass(frozen=True)
class Host:
    """Network and mount namespaces in which commands run; `folder` has their temporary files."""

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

    def kubectl(self, cluster: BackgroundCluster, *arguments: str) -> str:
        """Run kubectl as a user of the cluster."""
        return self.run(
            f"{cluster.programs}/kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments
        ).stdout

    def nodes_ready(self) -> None:
        """Wait until `status` shows both nodes as Ready."""
        wait_for(lambda: self.cluster("status").stdout.count(" Ready ") == 2, "two Ready nodes", 120)

    def found(self) -> BackgroundCluster:
        """Return the cluster that runs on it."""
        (file,) = self.folder.glob(f"*/{background.DESCRIPTION}")
        return BackgroundCluster(**json.loads(file.read_text(encoding="utf-8")))

    def state(self) -> HostState:
        """Return its network, settings and mounts."""
        settings = {" ".join(argv): self.run(*argv).stdout for argv in STATE}
        settings |= {path: str(self._is_there(path)) for path in FOLDERS}
        return HostState(settings, tuple(self.run("cat", "/proc/self/mounts").stdout.splitlines()))

    def changes_since(self, before: HostState) -> list[str]:
        """Say what commands have changed on it, and nothing of what others do beside it."""
        return changes(before, self.state(), self._is_there)

    def _is_there(self, path: str) -> bool:
        return Path(f"/proc/{self.pid}/root{path}").exists()


def processes_of(name: str) -> list[str]:
    """Return the command lines of a cluster's processes: named after its folder, or in its cgroups."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            texts = [(folder / file).read_text("utf-8", "replace") for file in ("cmdline", "cgroup")]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(name in text for text in texts):
            found.append(texts[0])
    return found


@contextmanager
def host_in(directory: Path) -> Iterator[Host]:
    """Make a machine for the length of a block; a cluster that runs on it ends with it.

    It begins without the mounts of a build of images that runs beside it.
    """
    builds = f"grep -o ' /[^ ]*{STORES}[^ ]*' /proc/self/mounts | sort -ru | xargs -r -n 1 umount --lazy"
    script = f"ip link set lo up && {{ {builds}; echo up; exec sleep infinity; }}"
    argv = [program("unshare"), "--net", "--mount", "sh", "-c", script]
    folder = directory / "tmp"
    folder.mkdir()
    with Process("host", argv, log=directory / "host.log") as process:
        process.wait_until(lambda: "up" in process.tail(), "network", 30)
        found = Host(process.pid, folder)
        yield found
        found.cluster("down")
