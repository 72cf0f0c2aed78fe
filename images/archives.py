"""The images for one platform as files: docker archives, which docker, podman and containerd load."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from images import base, sbom
from images.plan import IMAGES, Build, copied, repository
from images.run import ROOT, run
from images.store import Store, opened

MOST_ARCHIVES = 6
KEPT = 3600
"""Seconds in which a cached archive that somebody has asked for stays, however many there are."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An image, which has `name` where the archive is loaded, and the SBOM of its packages."""

    image: str
    version: str
    folder: Path

    @property
    def name(self) -> str:
        """For example `localhost/multus-eni-agent:1.2`."""
        return f"localhost/{repository(self.image)}:{self.version}"

    @property
    def file(self) -> Path:
        """The docker archive."""
        return self.folder / f"{repository(self.image)}-{self.version}.tar"

    @property
    def sbom(self) -> Path:
        """CycloneDX 1.5, JSON."""
        return self.folder / f"{repository(self.image)}-{self.version}.cdx.json"


def build(store: Store, how: Build, image: str, folder: Path, *, quiet: bool = False) -> Archive:
    """Build an image into a folder. Raises CommandError."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = Archive(image, how.version, folder)
    run(store.buildah(*how.argv(image, how.archived, ["--tag", archive.name])), quiet=quiet)
    unfinished = archive.file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        target = f"docker-archive:{unfinished}:{archive.name}"
        run(store.buildah("push", "--quiet", archive.name, target), quiet=True)
        run([*_uv_export(image), "--output-file", str(archive.sbom)], quiet=True)
        sbom.complete(archive.sbom, unfinished)
        unfinished.replace(archive.file)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def _uv_export(image: str) -> list[str]:
    uv = str(Path(sys.executable).with_name("uv"))
    formatted = ["--quiet", "--preview-features", "sbom-export", "--format", "cyclonedx1.5"]
    return [uv, "export", "--frozen", "--no-dev", "--extra", image, *formatted]


def ready(cache: Path, how: Build) -> list[Archive]:
    """Return archives of all images from the cache; what the same files make is built once.

    Raises CommandError.
    """
    wanted = [Archive(image, how.version, cache / "images" / digest(image, how)) for image in IMAGES]
    if not _all_there(wanted):
        with opened(cache / "containers") as store:
            based = how if how.base else dataclasses.replace(how, base=base.provide(store))
            for archive in wanted:
                # Another process may have built it meanwhile.
                if not archive.folder.exists():
                    _build_whole(store, based, archive)
    _sweep(cache / "images")
    return wanted


def _all_there(archives: Sequence[Archive]) -> bool:
    for archive in archives:
        if not archive.folder.exists():
            return False
        # So that it is not swept.
        archive.folder.touch()
    return True


def _build_whole(store: Store, how: Build, archive: Archive) -> None:
    began = time.monotonic()
    sys.stderr.write(f"images: building {archive.name} (the first time takes minutes)\n")
    with store.workspace() as folder:
        whole = build(store, how, archive.image, folder / "whole", quiet=True)
        archive.folder.parent.mkdir(parents=True, exist_ok=True)
        whole.folder.rename(archive.folder)
    sys.stderr.write(f"images: built {archive.name} in {time.monotonic() - began:.0f} s\n")


def _sweep(folder: Path) -> None:
    newest_first = sorted(folder.glob("*/"), key=lambda each: each.stat().st_mtime, reverse=True)
    for unused in newest_first[MOST_ARCHIVES:]:
        if unused.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(unused, ignore_errors=True)


def digest(image: str, how: Build) -> str:
    """What an image is made of, apart from Debian's packages and from its commit and its times."""
    dockerfile = ROOT / f"Dockerfile.{image}"
    found = hashlib.sha256(repr((how.version, how.archived, how.snapshot)).encode())
    for path in [dockerfile, *_sources(dockerfile)]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(ROOT)} {os.access(path, os.X_OK)} {content}\n".encode())
    return found.hexdigest()[:20]


def _sources(dockerfile: Path) -> Iterator[Path]:
    for name in copied(dockerfile.read_text(encoding="utf-8")):
        source = ROOT / name
        below = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (path for path in below if path.is_file() and "__pycache__" not in path.parts)
