"""The Debian 13 that the images are built in: pulled, or by debootstrap where no registry answers."""

from __future__ import annotations

import os
import shutil
import sys

from images.plan import DOCKERFILE_BASE, LOCAL_BASE
from images.run import CommandError, output, run
from images.store import Store

MIRROR = "http://deb.debian.org/debian"


def provide(store: Store) -> str:
    """Return the name of a base that is in the storage. Raises CommandError."""
    for name in (LOCAL_BASE, DOCKERFILE_BASE):
        if store.has(name):
            return name
    try:
        output(store.buildah("pull", "--quiet", DOCKERFILE_BASE))
    except CommandError as refused:
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            raise CommandError(
                f"{refused}\nWithout a registry, root makes the base by debootstrap: `make base-image`"
            ) from None
        sys.stderr.write(
            f"images: {DOCKERFILE_BASE} can't be pulled: debootstrap makes a base (half a minute)\n"
        )
        make(store)
        return LOCAL_BASE
    return DOCKERFILE_BASE


def make(store: Store, mirror: str = MIRROR) -> None:
    """Make LOCAL_BASE, also where it exists. Needs root; raises CommandError."""
    with store.workspace() as folder:
        root = folder / "root"
        run(["debootstrap", "--variant=minbase", "trixie", str(root), mirror], quiet=True)
        for left in (root / "var/cache/apt", root / "var/lib/apt/lists"):
            shutil.rmtree(left)
            left.mkdir()
        archive = folder / "root.tar"
        run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), "."])
        container = output(store.buildah("from", "scratch")).strip()
        try:
            run(store.buildah("add", "--quiet", container, str(archive), "/"), quiet=True)
            run(store.buildah("config", "--cmd", "/bin/bash", container))
            run(store.buildah("commit", "--quiet", container, LOCAL_BASE), quiet=True)
        finally:
            run(store.buildah("rm", container), quiet=True)
