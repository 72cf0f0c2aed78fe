"""JSON Patch operations (RFC 6902) on a document that is kept in its own form: YAML nodes, JSON text.

Only what the injector's patches are made of: `add`, and `move` after a `test` of what was read before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from webhook.core.patch import Operation


class Tree(Protocol):
    """A document's root, and how its mappings and lists are read and changed."""

    root: Any

    def enter(self, container: Any, key: str) -> Any:
        """Give a container inside a container, ready to be changed without a change elsewhere."""

    def put(self, container: Any, key: str, value: Any) -> None:
        """Set a mapping's key, or insert into a list before an index, or at its end for `-`."""

    def take(self, container: Any, key: str) -> Any:
        """Remove an item from a list and give it."""

    def made(self, value: Any) -> Any:
        """Turn a JSON value into a part of such a document."""


def apply_operations(tree: Tree, operations: Iterable[Operation]) -> None:
    """Carry out the operations in order."""
    for operation in operations:
        if operation["op"] == "add":
            *parents, key = split_pointer(operation["path"])
            tree.put(_entered(tree, parents), key, tree.made(operation["value"]))
        elif operation["op"] == "move":
            *parents, key = split_pointer(operation["from"])
            value = tree.take(_entered(tree, parents), key)
            *parents, key = split_pointer(operation["path"])
            tree.put(_entered(tree, parents), key, value)


def split_pointer(pointer: str) -> list[str]:
    """Read a JSON Pointer (RFC 6901)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _entered(tree: Tree, keys: Sequence[str]) -> Any:
    container = tree.root
    for key in keys:
        container = tree.enter(container, key)
    return container
