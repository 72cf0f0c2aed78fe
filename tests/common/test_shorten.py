"""Texts that are shortened for messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.shorten import shortened, without_middle

pytestmark = pytest.mark.pure


@given(st.text(max_size=20), st.integers(1, 20))
def test_a_text_keeps_to_its_limit_and_shows_that_it_was_cut(text: str, limit: int) -> None:
    found = shortened(text, limit)
    assert len(found) <= limit
    if len(text) <= limit:
        assert found == text
    else:
        assert found == text[: limit - 1] + "…"


@given(st.text("ab é漢", max_size=40), st.integers(5, 40))
def test_of_a_long_text_the_beginning_and_the_end_are_kept(text: str, limit: int) -> None:
    found = without_middle(text, limit)
    assert len(found.encode()) <= limit
    if len(text.encode()) <= limit:
        assert found == text
        return
    beginning, _, end = found.partition(" … ")
    assert text.startswith(beginning)
    assert text.endswith(end)
    # No more is left out than a character at each cut needs.
    assert limit - len(found.encode()) <= 5
