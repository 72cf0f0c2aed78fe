"""Texts that are shortened for messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.shorten import shortened

pytestmark = pytest.mark.pure


@given(st.text(max_size=20), st.integers(1, 20))
def test_a_text_keeps_to_its_limit_and_shows_that_it_was_cut(text: str, limit: int) -> None:
    found = shortened(text, limit)
    assert len(found) <= limit
    if len(text) <= limit:
        assert found == text
    else:
        assert found == text[: limit - 1] + "…"
