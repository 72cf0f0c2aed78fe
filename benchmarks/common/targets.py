"""Figures beside what they should be. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common.grid import grid


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
