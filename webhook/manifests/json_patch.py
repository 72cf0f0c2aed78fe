"""Apply JSON Patch operations (RFC 6902) to a document in its own form: YAML nodes or JSON text.

Only the operations of the injector's patches are supported: `add`, and `move` after a `test` of a value that
has just been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from webhook.core.patch import Operation


class Tree(Protocol):
    """A document's root, and how its mappings and lists are changed."""

    root: Any

    def enter(self, container: Any, key: str) -> Any:
        """Return the container under the key, such that changing it changes nothing else."""

    def insert_or_set(self, container: Any, key: str, value: Any) -> None:
        """Set a mapping's key, or insert into a list before an index, or at its end for `-`."""

    def remove(self, container: Any, key: str) -> Any:
        """Remove an item from a list and return it."""

    def build(self, value: Any) -> Any:
        """Convert a JSON value into a part of such a document."""


def apply_operations(tree: Tree, operations: Iterable[Operation]) -> None:
    """Apply the operations in order."""
    for operation in operations:
        if operation["op"] == "add":
            *parents, key = split_pointer(operation["path"])
            tree.insert_or_set(_container_at(tree, parents), key, tree.build(operation["value"]))
        elif operation["op"] == "move":
            *parents, key = split_pointer(operation["from"])
            value = tree.remove(_container_at(tree, parents), key)
            *parents, key = split_pointer(operation["path"])
            tree.insert_or_set(_container_at(tree, parents), key, value)


def split_pointer(pointer: str) -> list[str]:
    """Read a JSON Pointer (RFC 6901)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _container_at(tree: Tree, keys: Sequence[str]) -> Any:
    container = tree.root
    for key in keys:
        container = tree.enter(container, key)
    return container
