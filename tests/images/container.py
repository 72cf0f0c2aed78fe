"""Containers by runc, without a cluster: uid 65534, read-only root, no capability, a network as given."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

from images.archives import Archive
from tests.cluster.processes import LAZY_GC

Completed = subprocess.CompletedProcess[str]
MEGABYTE = 1 << 20


def call(*argv: str | Path, timeout: float = 120.0) -> str:
    """Return what a program prints. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(
        list(map(str, argv)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        # A tenth of what buildah takes.
        env={**os.environ, **LAZY_GC},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Extract an archive of our own, as it is; Python before 3.11.4 has no filters (tarfile, "Hints")."""
    archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
    archive.extractall(folder)


class Image:
    """A built image, with its files below `root`."""

    def __init__(self, archive: Archive, root: Path) -> None:
        self.archive = archive
        self.root = root
        root.chmod(0o755)
        with tarfile.open(archive.file) as content:
            (manifest,) = json.load(_member(content, "manifest.json"))
            self.names: list[str] = manifest["RepoTags"]
            self._description = json.load(_member(content, manifest["Config"]))
            for layer in manifest["Layers"]:
                # One layer is a link to another where both are the same.
                with tarfile.open(fileobj=_member(content, layer)) as files:
                    # As root, who made it: owners and modes are a part of what is tested.
                    extract(files, root)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The `config` of the image specification: User, Env, Entrypoint, Labels ..."""
        config: Mapping[str, Any] = self._description["config"]
        return config

    @property
    def path(self) -> Sequence[str]:
        """The folders in which commands are looked up."""
        env: dict[str, str] = dict(each.split("=", 1) for each in self.config["Env"])
        return env["PATH"].split(":")


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    assert file is not None, name
    return file


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the container's cgroup: CPU in thousandths of a core, memory in MiB; 0 for no limit."""

    cpu: int = 0
    memory: int = 0

    def resources(self) -> dict[str, Any]:
        cpu = {"cpu": {"period": 100_000, "quota": self.cpu * 100}} if self.cpu else {}
        memory = {"memory": {"limit": self.memory * MEGABYTE}} if self.memory else {}
        return {**cpu, **memory}


SMALL = Limits(cpu=100, memory=64)


@dataclass(frozen=True, slots=True)
class Running:
    """A container whose first process runs; its programs may take `patience` times as long as usual."""

    name: str
    process: subprocess.Popen[str]
    command: Callable[[Sequence[str]], Sequence[str]] = list
    patience: float = 1.0

    def exec(self, *argv: str) -> Completed:
        """Run another program in it, as a probe does."""
        command = ["runc", "exec", self.name, *self.command(argv)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60 * self.patience, check=False
        )

    def end(self, signal: str = "TERM") -> Completed:
        """Send its first process a signal, and return what it has said when it has ended."""
        if self.process.poll() is None:
            call("runc", "kill", self.name, signal)
        return self.wait()

    def wait(self, timeout: float = 60.0) -> Completed:
        """Return what it has said when it has ended by itself."""
        stdout, stderr = self.process.communicate(timeout=timeout * self.patience)
        return Completed(self.process.args, self.process.returncode, stdout, stderr)


@dataclass(slots=True)
class Container:
    """Starts processes in new containers; `folder` is for their bundles.

    `mounts` are read-only bind mounts and `writable` others, by their path in the container; what they name
    must be readable, or writable, for all. `network` is the file of a network namespace, by default a new one
    with nothing but lo. `patience` is by how much timeouts are longer; without `limited` limits do not count.
    """

    folder: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    writable: dict[str, Path] = field(default_factory=dict)
    network: Path | None = None
    patience: float = 1.0
    limited: bool = True

    def command(self, image: Image, argv: Sequence[str]) -> list[str]:  # noqa: ARG002 - another kind looks into it
        """Return what runc starts for a command of the image."""
        return list(argv)

    def run(
        self,
        image: Image,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        timeout: float = 60.0,
    ) -> Completed:
        """Run a program to its end, as the container's first process."""
        with self.running(image, argv, env=env, limits=limits) as running:
            return running.wait(timeout)

    @contextmanager
    def running(
        self,
        image: Image,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Iterator[Running]:
        """Start a program as the container's first process; the container is gone after the block."""
        name = f"multus-eni-test-{uuid.uuid4()}"
        bundle = self.folder / name
        bundle.mkdir()
        call("runc", "spec", "--bundle", bundle)
        spec = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        given = limits if limits and self.limited else Limits()
        self._complete(spec, image, argv, env or {}, given)
        (bundle / "config.json").write_text(json.dumps(spec), encoding="utf-8")
        process = subprocess.Popen(
            ["runc", "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield Running(name, process, partial(self.command, image), self.patience)
            finally:
                subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)

    def _complete(
        self, spec: dict[str, Any], image: Image, argv: Sequence[str], env: Mapping[str, str], limits: Limits
    ) -> None:
        uid, gid = map(int, image.config["User"].split(":"))
        spec["root"] = {"path": str(image.root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "args": self.command(image, argv),
            "env": [*image.config["Env"], *(f"{key}={value}" for key, value in env.items())],
            "user": {"uid": uid, "gid": gid},
            "capabilities": {},
            "noNewPrivileges": True,
        }
        for mounts, mode in ((self.mounts, "ro"), (self.writable, "rw")):
            spec["mounts"].extend(
                {"destination": target, "source": str(source), "type": "bind", "options": ["bind", mode]}
                for target, source in mounts.items()
            )
        spec["linux"]["resources"] |= limits.resources()
        if self.network is not None:
            (namespace,) = (each for each in spec["linux"]["namespaces"] if each["type"] == "network")
            namespace["path"] = str(self.network)
