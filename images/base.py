"""The base image where no registry can be reached: Debian 13 by debootstrap."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from images.plan import LOCAL_BASE
from images.run import output, run

MIRROR = "http://deb.debian.org/debian"


def make(mirror: str = MIRROR) -> None:
    """Make LOCAL_BASE, also where it exists. Needs root; raises CommandError."""
    with tempfile.TemporaryDirectory(prefix="multus-eni-base-") as folder:
        root = Path(folder, "root")
        run(["debootstrap", "--variant=minbase", "trixie", str(root), mirror], quiet=True)
        for left in (root / "var/cache/apt", root / "var/lib/apt/lists"):
            shutil.rmtree(left)
            left.mkdir()
        archive = Path(folder, "root.tar")
        run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), "."])
        container = output(["buildah", "from", "scratch"]).strip()
        try:
            run(["buildah", "add", "--quiet", container, str(archive), "/"], quiet=True)
            run(["buildah", "config", "--cmd", "/bin/bash", container])
            run(["buildah", "commit", "--quiet", container, LOCAL_BASE], quiet=True)
        finally:
            run(["buildah", "rm", container], quiet=True)
