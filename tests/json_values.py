"""Values as JSON has them."""

from __future__ import annotations

from collections.abc import Iterator


def keys(value: object) -> Iterator[str]:
    """Yield the key of each member, in whatever depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)
