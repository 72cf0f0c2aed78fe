"""Answers for people: aligned tables and sentences, in colour only on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from ipagent.log import printable


class Style(StrEnum):
    """How a cell stands out on a terminal: SGR codes of ECMA-48."""

    PLAIN = ""
    HEAD = "1"
    GOOD = "32"
    DOUBTFUL = "33"
    BAD = "31"


@dataclass(frozen=True)
class Cell:
    """A piece of a table; nothing to say is written as `-`."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True)
class Palette:
    """Colours texts, or leaves them as they are."""

    coloured: bool

    def paint(self, text: str, style: Style) -> str:
        """Give the text in its style."""
        if not self.coloured or style is Style.PLAIN or not text.strip():
            return text
        return f"\x1b[{style.value}m{text}\x1b[0m"


def palette_for(stream: TextIO, env: Mapping[str, str]) -> Palette:
    """Colour only on a terminal that knows colours, and never with NO_COLOR (no-color.org)."""
    return Palette(stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb")


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], palette: Palette) -> str:
    """Write rows under their headers, columns two spaces apart; every row has as many cells as headers."""
    lines = [tuple(Cell(header, Style.HEAD) for header in headers), *map(tuple, rows)]
    texts = [[printable(cell.text) or "-" for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    written = []
    for line, row in zip(lines, texts, strict=True):
        padded = [text.ljust(width) for text, width in zip(row[:-1], widths, strict=False)]
        parts = zip([*padded, row[-1]], line, strict=True)
        written.append("  ".join(palette.paint(text, cell.style) for text, cell in parts) + "\n")
    return "".join(written)


def sentence(label: str, text: str, palette: Palette, style: Style = Style.PLAIN) -> str:
    """Write a labelled line below a table."""
    return f"{palette.paint(label, style)}: {printable(text)}\n"
