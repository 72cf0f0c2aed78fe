"""What all parts of a world file have in common: identifiers, tags, numbers with a default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from tests.doubles.config.document import Node
from tests.doubles.state.identifiers import Identifier

NAME = r"[\w+=,.@-]{1,64}"
"""The name of an IAM role."""


class Identified(Protocol):
    """What has an identifier of its own."""

    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=Identified)


def identifier(node: Node, kind: Identifier) -> str:
    """Read an identifier of a kind."""
    return node.text(kind.pattern, f"{kind.prefix} and 8 or 17 hexadecimal digits")


def integer(keys: Mapping[str, Node], key: str, default: int, low: int, high: int) -> int:
    """Read a whole number that may be left out."""
    return keys[key].integer(low, high) if key in keys else default


def choice(keys: Mapping[str, Node], key: str, default: str, allowed: Iterable[str]) -> str:
    """Read one of some texts that may be left out."""
    return keys[key].choice(allowed) if key in keys else default


def tags(keys: Mapping[str, Node]) -> dict[str, str]:
    """Read tags that may be left out."""
    return keys["tags"].pairs() if "tags" in keys else {}


def add(known: dict[str, Item], item: Item, node: Node) -> None:
    """Add an item whose identifier must be new."""
    if item.id in known:
        node.refuse(f"{item.id} is there twice")
    known[item.id] = item
