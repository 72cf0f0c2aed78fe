"""A memory cgroup like a container's: what is started in it may use so many bytes, or the kernel kills it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.nodes import cgroups


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """A cgroup's folder; `launcher` is put before a command that shall run in it."""

    folder: Path

    @property
    def launcher(self) -> Sequence[str]:
        """A command that enters the cgroup and becomes what follows."""
        enter = (
            "import os,sys; open(sys.argv[1],'w').write(str(os.getpid())); os.execv(sys.argv[2],sys.argv[2:])"
        )
        return [sys.executable, "-c", enter, str(self.folder / "cgroup.procs")]

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed in it for lack of memory."""
        for name in ("memory.events", "memory.oom_control"):
            if (self.folder / name).exists():
                found = re.search(r"^oom_kill (\d+)$", (self.folder / name).read_text("ascii"), re.MULTILINE)
                assert found is not None
                return int(found[1])
        raise AssertionError(f"{self.folder} is not a memory cgroup")


def usable() -> bool:
    """Return whether memory cgroups can be made here: as root, where /sys/fs/cgroup can be written."""
    return os.access(_tree(), os.W_OK)


@contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup]:
    """Make a cgroup with this many bytes, without swap; remove it when its processes have ended."""
    name = cgroups.new_name()
    cgroups.make(name)
    folder = _tree() / name
    try:
        for file, value in (
            ("memory.max", limit),
            ("memory.swap.max", 0),
            ("memory.limit_in_bytes", limit),
            ("memory.swappiness", 0),
        ):
            if (folder / file).exists():
                (folder / file).write_text(str(value), "ascii")
        yield MemoryCgroup(folder)
    finally:
        cgroups.remove(name)


def _tree() -> Path:
    v1 = cgroups.ROOT / "memory"
    return v1 if v1.is_dir() else cgroups.ROOT
