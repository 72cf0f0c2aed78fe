"""Output of the commands: aligned tables and sentences for people, pieces of JSON documents for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

from ipagent.assign.errors import AgentError
from ipagent.assign.topology import EniDetails
from ipagent.commands.context import NodeEnis
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
        """Return the text in its style."""
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


def holder_document(eni: EniDetails | None) -> dict[str, Any] | None:
    """Write who holds an address, for programs."""
    return {"eni": eni.eni_id, "instance": eni.instance_id or None} if eni else None


def topology_document(nodes: NodeEnis) -> dict[str, Any]:
    """Write where the ENIs come from, for programs."""
    return {"source": nodes.source or None, "error": error_document(nodes.error)}


def ec2_document(access: Mapping[str, str], error: AgentError | None) -> dict[str, Any]:
    """Write how EC2 was asked, for programs."""
    return {
        "region": access["region"] or None,
        "identity": access["identity"] or None,
        "error": error_document(error),
    }


def error_document(error: AgentError | None) -> dict[str, Any] | None:
    """Write an error, for programs."""
    if error is None:
        return None
    return {"exitCode": int(error.exit_code), "message": str(error), "remedy": error.remedy}


def error_lines(
    enis: AgentError | None, ec2: AgentError | None, warnings: Iterable[str], palette: Palette
) -> list[str]:
    """Write what could not be looked at, and warnings, below a table."""
    parts = [sentence("Warning", warning, palette, Style.DOUBTFUL) for warning in warnings]
    # The same silence twice is one.
    for label, error in {str(e): (label, e) for label, e in (("EC2", ec2), ("ENIs", enis)) if e}.values():
        parts.append(sentence(f"{label} unknown", f"{error}. {error.remedy}", palette, Style.BAD))
    return parts
