"""Shortens texts for messages, Events and conditions. It imports nothing."""

from __future__ import annotations

_GAP = " … "
SHOWN = 64
"""Characters of a wrong value that a message shows."""


def shortened(text: str, limit: int = SHOWN) -> str:
    """Return a text with at most `limit` characters; one that is cut ends with `…`."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def without_middle(text: str, limit: int) -> str:
    """Return a text with at most `limit` bytes of UTF-8; one that is cut keeps its beginning and its end.

    The agents' messages begin with what is wrong, and end with what to do.
    """
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    half = (limit - len(_GAP.encode())) // 2
    return _GAP.join(part.decode("utf-8", "ignore") for part in (data[:half], data[len(data) - half :]))
