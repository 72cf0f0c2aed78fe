"""The cgroups below which a cluster's pods run: the one thing that namespaces do not hold.

With cgroup v1 there is one tree a controller, with v2 there is one for all (cgroups(7)). The name of a
cluster's cgroup says which process owns it, so that what a killed one left behind can be told from what is
in use.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.waiting import wait_for

ROOT = Path("/sys/fs/cgroup")
PREFIX = "multus-eni"
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
"""What the kubelet needs of a v2 tree, where the kernel has it."""

# The PID namespace, the process and when it began there, and a number.
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-(\d+)-\d+")
_numbers = itertools.count(1)


def new_name() -> str:
    """Make up a name that is this process's alone, on this machine, until it reboots."""
    return f"{PREFIX}-{_namespace()}-{os.getpid()}-{_started(os.getpid())}-{next(_numbers)}"


def is_name(name: str) -> bool:
    """Return whether a name is one that `new_name` makes up."""
    return _NAME.fullmatch(name) is not None


def owner_lives(name: str) -> bool:
    """Return whether the process that made up a name is there; raises ValueError for other names.

    One of another PID namespace, such as a container's, can't be seen from here: it counts as alive.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not a name of a cluster")
    namespace, pid, started = map(int, found.groups())
    return namespace != _namespace() or _started(pid) == started


def make(path: str, root: Path = ROOT) -> None:
    """Make a cgroup such as `cluster/n1` in every tree, with the CPUs and memory nodes of its parent."""
    for tree in _trees(root):
        if tree.name == "unified":
            continue
        folder = tree
        for part in path.split("/"):
            _delegate(folder)
            folder /= part
            folder.mkdir(exist_ok=True)
            # In v1 a new cpuset has no CPUs, and no process may enter it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (folder / name).exists() and not (folder / "cgroup.controllers").exists():
                    (folder / name).write_text((folder.parent / name).read_text("utf-8"), "utf-8")


def remove(path: str, root: Path = ROOT, timeout: float = 30.0) -> None:
    """Remove a cgroup and those below it from every tree, once its processes have ended.

    Raises TimeoutError where they have not within `timeout` seconds.
    """
    folders = [tree / path for tree in _trees(root)]

    def removed() -> bool:
        left = [folder for folder in folders if not _removed(folder)]
        return not left

    wait_for(removed, f"end of the processes in {path}", timeout)


def names(root: Path = ROOT) -> set[str]:
    """Return the names of clusters that have cgroups."""
    found = [each.name for tree in _trees(root) for each in tree.glob(f"{PREFIX}-*")]
    return {name for name in found if is_name(name)}


def _trees(root: Path) -> Iterator[Path]:
    if (root / "cgroup.controllers").exists():
        yield root
        return
    # Hybrid: v2 is there beside v1 as `unified`, without controllers. The kubelet leaves it, runc does not.
    yield from (tree for tree in sorted(root.iterdir()) if tree.is_dir() and not tree.is_symlink())


def _delegate(folder: Path) -> None:
    """Let the children of a v2 cgroup have its controllers."""
    try:
        there = (folder / "cgroup.controllers").read_text("utf-8").split()
    except FileNotFoundError:
        return
    wanted = " ".join(f"+{name}" for name in CONTROLLERS if name in there)
    (folder / "cgroup.subtree_control").write_text(wanted, "utf-8")


def _removed(folder: Path) -> bool:
    if not folder.exists():
        return True
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            Path(path).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return not folder.exists()


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (proc(5): field 22 of `stat`); None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie holds nothing any more.
    return None if fields[0] == "Z" else int(fields[19])
