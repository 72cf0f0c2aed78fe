"""Fields of Kubernetes objects and of other JSON, where a value of a wrong type counts as missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_NAME = 253
"""Characters of a name: a DNS subdomain (RFC 1123) has no more."""

Object = Mapping[str, Any]


def as_map(value: object) -> Object:
    """Return an object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a list, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_text(value: object, limit: int = MAX_NAME) -> str:
    """Return at most `limit` characters of a text that is one line, such as a name; else an empty one."""
    return value[:limit] if isinstance(value, str) and value[:limit].isprintable() else ""
