"""The figures as text: Markdown, so that they can stand in a document as they are printed. No I/O."""

from __future__ import annotations

from benchmarks.agent.results import Figure, Results, figures
from benchmarks.common.grid import grid

_VERDICTS = {True: "met", False: "missed", None: ""}


def render(results: Results) -> str:
    """Write everything."""
    head = ["figure", "found", "target", "", "stretch", "", "bare Python", "ratio", "botocore", "ratio"]
    rows = [head, *map(_row, figures(results))]
    parts = [f"{results.machine.describe()}\nMedians of {results.turns} turns.", grid(rows)]
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    return "\n\n".join(parts)


def _row(figure: Figure) -> list[str]:
    return [
        figure.what,
        _number(figure.found, figure.unit),
        _limit(figure.limit, figure.unit),
        _VERDICTS[figure.met],
        _limit(figure.stretch, figure.unit),
        _VERDICTS[figure.stretched],
        *_reference(figure, figure.bare),
        *_reference(figure, figure.botocore),
    ]


def _reference(figure: Figure, value: float | None) -> tuple[str, str]:
    if value is None:
        return "", ""
    return _number(value, figure.unit), f"{figure.found / value:.2f} x"


def _limit(value: float | None, unit: str) -> str:
    return "" if value is None else f"<= {_number(value, unit)}"


def _number(value: float, unit: str) -> str:
    digits = {"s": 3, "MB": 1, "ms": 2}.get(unit, 0)
    return f"{value:.{digits}f} {unit}".rstrip()
