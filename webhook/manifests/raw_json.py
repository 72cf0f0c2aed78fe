"""Look into JSON of any shape, level by level, without building all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

Place = tuple[str | int, ...]
"""Keys and indices from a root."""
Fields = Mapping[str, msgspec.Raw]


def dotted(place: Place) -> str:
    """Write a place for users, as in `spec.tasks[0].template`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")


def fields_of(raw: bytes | msgspec.Raw | None) -> Fields:
    """Return the fields of an object, none of anything else."""
    if raw is None or not starts_with(raw, b"{"):
        return {}
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def items_of(raw: bytes | msgspec.Raw | None) -> list[msgspec.Raw]:
    """Return the items of a list, none of anything else."""
    if raw is None or not starts_with(raw, b"["):
        return []
    return msgspec.json.decode(raw, type=list[msgspec.Raw])


def follow(raw: bytes | msgspec.Raw, place: Place) -> bytes | msgspec.Raw | None:
    """Return what stands at a place, None where there is nothing."""
    found: bytes | msgspec.Raw | None = raw
    for key in place:
        if isinstance(key, str):
            found = fields_of(found).get(key)
        else:
            found = next(iter(items_of(found)[key : key + 1]), None)
    return found


def text_in(fields: Fields, key: str) -> str:
    """Return the string under a key, empty for anything else."""
    value: Any = msgspec.json.decode(fields[key]) if key in fields else ""
    return value if isinstance(value, str) else ""


def starts_with(raw: bytes | msgspec.Raw, character: bytes) -> bool:
    """Return whether the JSON starts with this character, which tells its type."""
    # At run time a Raw is a buffer and not a bytes object.
    return bytes(memoryview(raw)[:1]) == character


def has_any(raw: bytes | msgspec.Raw, words: tuple[bytes, ...]) -> bool:
    """Return whether the text has one of the words; most parts of an input have none, and end a search."""
    text = bytes(raw)
    return any(word in text for word in words)
