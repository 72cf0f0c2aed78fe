"""Markdown tables, so that figures can stand in a document as they are printed. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[str]


def grid(rows: Sequence[Row]) -> str:
    """Write a Markdown table, the first row its head; all columns but the first to the right."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(_padded(row, widths)) + " |" for row in (rows[0], rule, *rows[1:]))


def _padded(row: Row, widths: Sequence[int]) -> list[str]:
    return [
        row[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
    ]
