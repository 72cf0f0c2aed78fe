"""Helm as users run it: the program, with a kubeconfig and folders of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.api import Manifest
from tests.cluster.processes import LAZY_GC

CHART = Path(__file__).parents[2] / "charts" / "multus-eni-injector"
REGISTRY = "registry.example/multus-eni"
RELEASE = "multus-eni-injector"
NAMESPACE = "multus-eni-system"
Values = Mapping[str, Any]


class HelmError(RuntimeError):
    """Helm ended with another status than 0; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """One Helm program; everything that it writes is in `folder`."""

    program: Path
    folder: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str | Path, values: Values | None = None, timeout: float = 120.0) -> str:
        """Run Helm, with values as a file; returns its output. Raises HelmError."""
        argv = [str(self.program), *map(str, arguments)]
        if values is not None:
            argv.append("--values=-")
        done = subprocess.run(
            argv,
            input=json.dumps(values) if values is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self._environment(),
        )
        if done.returncode != 0:
            raise HelmError(f"{' '.join(argv[1:])}: status {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def template(
        self,
        values: Values | None = None,
        *options: str,
        chart: Path = CHART,
        release: str = RELEASE,
        namespace: str = NAMESPACE,
    ) -> str:
        """Return what `helm template` renders, hooks included, as Argo CD does."""
        return self.run("template", release, chart, f"--namespace={namespace}", *options, values=values or {})

    def render(
        self, values: Values | None = None, *options: str, namespace: str = NAMESPACE
    ) -> list[Manifest]:
        """Return the manifests of `template`."""
        return parsed(self.template(values, *options, namespace=namespace))

    def _environment(self) -> dict[str, str]:
        own = {f"HELM_{name}_HOME": str(self.folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        named = {"KUBECONFIG": str(self.kubeconfig or self.folder / "none")}
        return {**kept, **own, **named, **LAZY_GC}


def parsed(text: str) -> list[Manifest]:
    """Return the manifests in what Helm rendered."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def merged(*values: Values) -> dict[str, Any]:
    """Merge values as Helm does: maps deeply, everything else by replacing."""
    result: dict[str, Any] = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def only(manifests: Sequence[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the one manifest of a kind (and name)."""
    (found,) = [
        each for each in manifests if each["kind"] == kind and name in (None, each["metadata"]["name"])
    ]
    return found
