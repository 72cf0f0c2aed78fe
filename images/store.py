"""buildah's storage for this project alone, in the user's cache.

What a killed build leaves there, and what a bug of buildah makes of it, is then nobody else's: a storage that
can't be read is thrown away and made anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from images.run import CommandError, ProgramMissingError, output, run, succeeds

MOST_IMAGES = 400
"""With `--layers` each step of a build is an image: from so many on, those without a name go. About 5 GB."""
_WORKSPACE = ".building-"


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Where this project keeps what takes long to make, outside the clone."""
    cache = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache")
    return Path(cache, "multus-eni-injector")


@dataclass(frozen=True, slots=True)
class Store:
    """A storage of containers and images; `opened` gives it to one process at a time."""

    folder: Path

    def buildah(self, *arguments: str) -> list[str]:
        """Return a command line of buildah on this storage."""
        places = ("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"))
        return ["buildah", *places, *arguments]

    def has(self, image: str) -> bool:
        """Whether an image of that name is here."""
        return succeeds(self.buildah("inspect", "--type", "image", image))

    def drop_index(self, name: str) -> None:
        """Forget a multi-architecture index; nothing happens where there is none of that name."""
        if succeeds(self.buildah("manifest", "inspect", name)):
            run(self.buildah("manifest", "rm", name), quiet=True)

    def remove(self) -> None:
        """Throw everything away, also what a killed build has left mounted."""
        for part in ("storage", "run"):
            _remove(self.folder / part)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Return an empty folder for a build; a killed build's goes when the storage is next opened."""
        with tempfile.TemporaryDirectory(prefix=_WORKSPACE, dir=self.folder) as folder:
            yield Path(folder)


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Return the storage in a folder, readable and without leftovers, once others are done with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("images: another process builds: waiting for it\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        store = Store(folder)
        _tidy(store)
        yield store


def _tidy(store: Store) -> None:
    for left in store.folder.glob(f"{_WORKSPACE}*"):
        _remove(left)
    try:
        # Containers: only a build that was killed leaves any.
        output(store.buildah("rm", "--all"))
        images = output(store.buildah("images", "--all", "--quiet")).split()
    except ProgramMissingError:
        raise
    except CommandError as error:
        sys.stderr.write(f"images: the storage in {store.folder} can't be read and is made anew: {error}\n")
        store.remove()
    else:
        if len(images) >= MOST_IMAGES:
            run(store.buildah("rmi", "--prune", "--force"), quiet=True)


def _remove(folder: Path) -> None:
    for mounted in _mounted_below(folder):
        run(["umount", "--lazy", mounted], quiet=True)
    shutil.rmtree(folder, ignore_errors=True)


def _mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    # The fifth field, in which a space is written as \040: proc_pid_mountinfo(5).
    places = [line.split(" ")[4].replace("\\040", " ") for line in lines]
    return sorted((place for place in places if Path(place).is_relative_to(folder)), reverse=True)
