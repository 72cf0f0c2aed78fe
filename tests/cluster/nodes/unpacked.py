"""Images as a node's disk has them: imported and unpacked once for all nodes of all clusters.

Importing 150 MB takes four seconds of CPU time, on each node of each cluster. What containerd makes of them
lies in the cache, and nodes begin with hard links to its files, in a tenth of a second: containerd writes
content and layers once, and replaces or removes files afterwards. Its databases are copied.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from images.store import cache_folder
from tests.cluster.nodes.configs import importing
from tests.cluster.nodes.sandbox import Sandbox, program
from tests.cluster.waiting import wait_for

MOST = 4
KEPT = 3600
"""Seconds in which a folder that somebody has asked for stays, however many there are."""
_BOOTED = b"containerd successfully booted"
"""What containerd logs when it serves (containerd, cmd/containerd/command/main.go)."""


def unpacked(images: Sequence[Path], tags: Sequence[tuple[str, str]]) -> Path:
    """Return a folder of containerd's with these docker archives; `tags` are further names for images.

    The first call with other archives imports them, in seconds. Start it in a thread that lives as long.
    Raises ProcessError or CommandError.
    """
    cache = cache_folder() / "unpacked"
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / _digest(images, tags)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=cache) as folder:
                _import(images, tags, Path(folder))
                Path(folder, "root").rename(found)
        # So that it is not swept.
        found.touch()
        _sweep(cache)
    return found


def lay_out(source: Path, target: Path) -> None:
    """Make a node's own folder of containerd out of what `unpacked` returns; `target` is there, and empty."""
    for link in (["--link"], []):
        done = subprocess.run(
            [program("cp"), "--archive", *link, f"{source}/.", target], capture_output=True, check=False
        )
        if done.returncode == 0:
            break
    else:
        raise OSError(done.stderr.decode())
    for database in source.rglob("*.db"):
        own = target / database.relative_to(source)
        own.unlink()
        shutil.copy(database, own)


def _digest(images: Sequence[Path], tags: Sequence[tuple[str, str]]) -> str:
    version = subprocess.run([program("containerd"), "--version"], capture_output=True, check=True).stdout
    found = hashlib.sha256(version + repr(tuple(tags)).encode() + importing(Path("/")).encode())
    for image in images:
        with image.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:20]


def _import(images: Sequence[Path], tags: Sequence[tuple[str, str]], folder: Path) -> None:
    config = folder / "containerd.toml"
    config.write_text(importing(folder / "root"), "utf-8")
    with Sandbox("unpacking", "mount -t tmpfs tmpfs /run\n", folder) as sandbox:
        containerd = sandbox.process("containerd", [program("containerd"), f"--config={config}"])
        with containerd:
            ctr = (program("ctr"), "--namespace=k8s.io")
            containerd.wait_until(lambda: _BOOTED in containerd.log.read_bytes(), "containerd", 60)
            for image in images:
                sandbox.run(*ctr, "images", "import", image, timeout=300)
            for tagged, name in tags:
                sandbox.run(*ctr, "images", "tag", "--force", tagged, name)
            # It closes its databases. The process that `containerd` is of here is nsenter.
            sandbox.run("pkill", "-TERM", "--exact", "containerd")
            wait_for(lambda: containerd.ended, "end of containerd")


def _sweep(cache: Path) -> None:
    # Under the lock nobody else unpacks: these are of runs that were killed.
    for unfinished in cache.glob(".unpacking-*/"):
        shutil.rmtree(unfinished, ignore_errors=True)
    newest_first = sorted(cache.glob("[!.]*/"), key=lambda each: each.stat().st_mtime, reverse=True)
    for unused in newest_first[MOST:]:
        if unused.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(unused, ignore_errors=True)
