"""Figures beside what they should be. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.common.grid import grid

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Target:
    """One figure beside what it should be; `met` is None where it could not be measured."""

    what: str
    wanted: str
    found: str
    met: bool | None


def verdicts(found: Sequence[Target]) -> str:
    """Write them as a section of Markdown."""
    words = {True: "met", False: "missed", None: "not measured"}
    rows = [
        ("target", "wanted", "found", ""),
        *((each.what, each.wanted, each.found, words[each.met]) for each in found),
    ]
    return f"### Targets\n\n{grid(rows)}"


def with_targets(results: DataclassInstance, found: Sequence[Target]) -> dict[str, Any]:
    """Return a run's results and their targets, for JSON."""
    return {**dataclasses.asdict(results), "targets": [dataclasses.asdict(each) for each in found]}
