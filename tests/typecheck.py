"""mypy, which begins with the cache of another checkout: `python -m tests.typecheck [ARGUMENT…]`.

mypy takes a file for unchanged whose path, size and second of the last change are those in its cache; of any
other it compares the content. So a new checkout takes a kept cache over only if each of its files is younger
than that cache: then mypy compares them all, and looks only at those that differ.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.store import cache_folder

ROOT = Path(__file__).parents[1]
CACHE = ".mypy_cache"
STAMP = "stamp"
"""In a kept cache: whom it is for, and a second in which none of its files was changed, nor later."""


def main(arguments: list[str]) -> int:
    """Return mypy's exit status."""
    store = cache_folder() / "mypy"
    fresh = False
    if not (ROOT / CACHE).exists():
        with _alone(store):
            # Another run in this checkout may have begun while this one waited.
            fresh = not (ROOT / CACHE).exists()
            if fresh:
                take_over(ROOT, store)
    status = subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=ROOT, check=False).returncode
    if fresh and status == 0:
        with _alone(store):
            keep(ROOT, store)
    return status


def take_over(root: Path, store: Path) -> bool:
    """Copy the kept cache into a checkout without one; returns False where there is none to be trusted."""
    try:
        owner, second = (store / STAMP).read_text().split()
    except (OSError, ValueError):
        return False
    if owner != _needs(root) or min(_changes(root)) <= int(second):
        return False
    # Whole or not at all, should it be interrupted.
    begun = root / f"{CACHE}.begun"
    shutil.rmtree(begun, ignore_errors=True)
    shutil.copytree(store / CACHE, begun)
    begun.rename(root / CACHE)
    return True


def keep(root: Path, store: Path) -> None:
    """Keep a checkout's cache for the next one, in place of the one before."""
    last = int(max(time.time(), *_changes(root))) + 1
    shutil.rmtree(store)
    shutil.copytree(root / CACHE, store / CACHE)
    (store / STAMP).write_text(f"{_needs(root)} {last}\n")


def _changes(root: Path) -> Iterator[float]:
    """When each file of the checkout that mypy may read was changed last."""
    for folder in root.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            # Not bytecode: Python writes it under other names at first, which are gone a moment later.
            found = (path for path in folder.rglob("*.py*") if path.suffix in (".py", ".pyi"))
            yield from (path.stat().st_mtime for path in found)


def _needs(root: Path) -> str:
    """Name the Python, the packages and the settings, whose changes mypy might not see."""
    read = b"".join((root / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))
    return hashlib.sha256(sys.version.encode() + read).hexdigest()


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    store.mkdir(parents=True, exist_ok=True)
    lock = os.open(store.with_name(f"{store.name}.lock"), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
