"""The Go program `check-nodegroup`: Terraform's language, and the expressions that nodeadm evaluates."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
SCHEMA = json.loads((DATA / "terraform-provider-aws.json").read_text(encoding="utf-8"))


class Refused(Exception):
    """The module is wrong; the text says where."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a module would make: resources by address, and outputs."""

    resources: Mapping[str, Any]
    outputs: Mapping[str, Any]

    def of(self, kind: str) -> dict[str, Any]:
        """Return the resources of one type, by the rest of their addresses."""
        return {name: each for name, each in self.resources.items() if f"{kind}." in name}


@dataclass(frozen=True, slots=True)
class CheckNodegroup:
    """Runs it."""

    program: Path

    def plan(self, folder: Path, variables: Mapping[str, Any], data: Mapping[str, Mapping[str, Any]]) -> Plan:
        """Evaluate a module; `data` is what AWS has, by `type.name` of the data source."""
        request = {"schema": SCHEMA, "variables": variables, "data": data}
        return Plan(**self._run(["terraform", str(folder)], request))

    def max_pods(self, expression: str, instances: Sequence[tuple[int, int]]) -> list[int]:
        """Evaluate an expression for instances, each with its ENIs and IPv4 addresses for one of them."""
        request = [{"default_enis": enis, "ips_per_eni": ips} for enis, ips in instances]
        found: list[int] = self._run(["max-pods", expression], request)
        return found

    def _run(self, arguments: list[str], request: Any) -> Any:
        done = subprocess.run(
            [self.program, *arguments], input=json.dumps(request), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout)
