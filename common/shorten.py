"""Shortens texts for messages, Events and conditions. It imports nothing."""

from __future__ import annotations

SHOWN = 64
"""Characters of a wrong value that a message shows."""


def shortened(text: str, limit: int = SHOWN) -> str:
    """Return a text with at most `limit` characters; one that is cut ends with `…`."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
