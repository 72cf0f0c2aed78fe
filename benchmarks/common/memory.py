"""What a process holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in megabytes (10^6 bytes); a page shared by n processes is 1/n in `pss`."""

    rss: float
    pss: float


def memory_of(pid: int) -> Memory:
    """Read what a process holds (proc(5), smaps_rollup; its kB are 1024 bytes)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    sizes = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    return Memory(rss=int(sizes["Rss"]) * 1024 / 1e6, pss=int(sizes["Pss"]) * 1024 / 1e6)
