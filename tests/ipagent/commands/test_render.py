"""Tables and colours of the commands."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.commands.render import Cell, Palette, Style, palette_for, sentence, table

pytestmark = pytest.mark.pure

PLAIN, COLOURED = Palette(False), Palette(True)
SGR = re.compile(r"\x1b\[\d*m")

cells = st.builds(Cell, st.text(max_size=12), st.sampled_from(Style))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_and_empty_cells_are_dashes() -> None:
    rows = [[Cell("net1"), Cell("10.10.1.80"), Cell("")], [Cell("n"), Cell(""), Cell("a reason")]]
    assert table(("IF", "ADDRESS", "WHY"), rows, PLAIN).splitlines() == [
        "IF    ADDRESS     WHY",
        "net1  10.10.1.80  -",
        "n     -           a reason",
    ]


@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=5))
def test_colour_changes_no_letter_and_no_line_is_broken(rows: list[list[Cell]]) -> None:
    plain = table(("A", "B", "C"), rows, PLAIN)
    assert "\x1b" not in plain
    assert SGR.sub("", table(("A", "B", "C"), rows, COLOURED)) == plain
    # What others wrote (tags, names of interfaces) can neither start a line nor steer a terminal.
    assert plain.count("\n") == len(rows) + 1
    assert all(line.isprintable() for line in plain.splitlines())


@pytest.mark.parametrize(
    ("stream", "env", "coloured"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
    ids=["a terminal", "of no name", "NO_COLOR", "a dumb one", "no terminal"],
)
def test_colour_is_for_terminals_that_want_it(
    stream: io.StringIO, env: dict[str, str], coloured: bool
) -> None:
    assert palette_for(stream, env).coloured is coloured


def test_a_sentence_is_one_line() -> None:
    assert sentence("Warning", "one\ntwo\x1b[2J", PLAIN) == "Warning: one two [2J\n"
    assert sentence("Warning", "x", COLOURED, Style.BAD) == "\x1b[31mWarning\x1b[0m: x\n"
