"""Removes what clusters leave whose owner was killed: cgroups without processes, and a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.nodes import cgroups


def folder_prefix(name: str) -> str:
    """Return how the temporary folder of a cluster begins; a random part follows."""
    return f"{name}."


def folders() -> Iterator[tuple[str, Path]]:
    """Find the temporary folders of clusters, with the clusters' names."""
    for path in Path(tempfile.gettempdir()).glob(f"{cgroups.PREFIX}-*.*"):
        name = path.name.partition(".")[0]
        if cgroups.is_name(name):
            yield name, path


def remove(root: Path = cgroups.ROOT, timeout: float = 30.0) -> list[str]:
    """Remove what clusters left whose owner has ended; returns their names.

    `root` is where cgroups are mounted. The kernel ends their processes with the owner. Raises TimeoutError
    where some are there after `timeout` seconds anyway.
    """
    found = list(folders())
    names = cgroups.names(root) | {name for name, _ in found}
    dead = {name for name in names if not cgroups.owner_lives(name)}
    for name in sorted(dead):
        cgroups.remove(name, root, timeout)
    for name, path in found:
        if name in dead:
            # Two that start at the same time may both be at it.
            shutil.rmtree(path, ignore_errors=True)
    return sorted(dead)
