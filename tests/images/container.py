"""Containers by runc, without a cluster: uid 65534, read-only root, no capability, no network but lo."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Completed = subprocess.CompletedProcess[str]
MEGABYTE = 1 << 20


def call(*argv: str | Path, timeout: float = 120.0) -> str:
    """Return what a program prints. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


class Image:
    """A built image, with its files below `root` from `with` to the end of its block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = Path()
        self._container = ""

    def __enter__(self) -> Self:
        self._container = call("buildah", "from", "--pull-never", self.name).strip()
        self.root = Path(call("buildah", "mount", self._container).strip())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call("buildah", "rm", self._container)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The `config` of the OCI image specification: User, Env, Entrypoint, Labels ..."""
        inspected = json.loads(call("buildah", "inspect", "--type", "image", self.name))
        config: Mapping[str, Any] = inspected["OCIv1"]["config"]
        return config


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the container's cgroup: CPU in thousandths of a core, memory in MiB; 0 for no limit."""

    cpu: int = 0
    memory: int = 0

    def resources(self) -> dict[str, Any]:
        cpu = {"cpu": {"period": 100_000, "quota": self.cpu * 100}} if self.cpu else {}
        memory = {"memory": {"limit": self.memory * MEGABYTE}} if self.memory else {}
        return {**cpu, **memory}


@dataclass(frozen=True, slots=True)
class Container:
    """Starts processes in new containers; `folder` is for their bundles."""

    folder: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    """Read-only bind mounts, by their path in the container; what they name must be readable for all."""

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
        name = f"multus-eni-test-{uuid.uuid4()}"
        bundle = self.folder / name
        bundle.mkdir()
        call("runc", "spec", "--bundle", bundle)
        spec = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        spec["root"] = {"path": str(image.root), "readonly": True}
        uid, gid = map(int, image.config["User"].split(":"))
        spec["process"] |= {
            "terminal": False,
            "args": list(argv),
            "env": [*image.config["Env"], *(f"{key}={value}" for key, value in (env or {}).items())],
            "user": {"uid": uid, "gid": gid},
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spec["mounts"].extend(
            {"destination": target, "source": str(source), "type": "bind", "options": ["bind", "ro"]}
            for target, source in self.mounts.items()
        )
        spec["linux"]["resources"] |= (limits or Limits()).resources()
        (bundle / "config.json").write_text(json.dumps(spec), encoding="utf-8")
        try:
            return subprocess.run(
                ["runc", "run", "--bundle", str(bundle), name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        finally:
            subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)
