"""Tables and diffs, as text."""

from __future__ import annotations

import difflib
from typing import Any

import yaml

from demo.cloud import State, enis
from demo.manifests import Manifest


def table(before: State, after: State) -> str:
    """ENIs of the node with their addresses; a `+` marks an address that was not there before."""
    had = {eni.id: set(eni.secondaries) for eni in enis(before)}
    rows = [("ENI", "device", "subnet", "primary", "secondary addresses")]
    for eni in enis(after):
        marked = [address if address in had[eni.id] else f"+{address}" for address in eni.secondaries]
        missing = [f"-{address}" for address in had[eni.id].difference(eni.secondaries)]
        device = f"{eni.device} (VPC CNI)" if eni.device == 0 else str(eni.device)
        rows.append((eni.id, device, eni.cidr, eni.primary, " ".join([*marked, *missing]) or "none"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def diff(before: Manifest, after: Manifest) -> list[str]:
    """What changed in a pod's annotations, containers and volumes, as a unified diff of YAML."""
    return [
        line
        for line in difflib.unified_diff(_shown(before), _shown(after), n=2, lineterm="")
        if not line.startswith(("---", "+++"))
    ]


class _OneLine(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _OneLine, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), True)
)


def _shown(manifest: Manifest) -> list[str]:
    spec = manifest["spec"]
    shown = {
        "metadata": {"annotations": manifest["metadata"].get("annotations", {})},
        "spec": {
            **{key: [_short(item) for item in spec[key]] for key in ("initContainers",) if spec.get(key)},
            "containers": [{"name": item["name"], "image": item["image"]} for item in spec["containers"]],
        },
    }
    return yaml.dump(shown, Dumper=_Dumper, sort_keys=False, width=1000).splitlines()


def _short(container: Manifest) -> Manifest:
    return {key: _on_one_line(key, value) for key, value in container.items()}


def _on_one_line(key: str, value: Any) -> Any:
    if key == "env":
        return [_OneLine(item) for item in value]
    return _OneLine(value) if isinstance(value, dict) else value
