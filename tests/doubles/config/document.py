"""Reads YAML and JSON documents strictly: every error says where in the document it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

T = TypeVar("T")


class DocumentError(ValueError):
    """A document can't be used; the text names the key, what is wrong, and what is allowed."""


@dataclass(frozen=True)
class Node:
    """A value in a document, with the path that leads to it."""

    path: str
    value: object

    def refuse(self, reason: str) -> NoReturn:
        """Raise DocumentError that names this place."""
        raise DocumentError(f"{self.path}: {reason}")

    def mapping(self, *, required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, Node]:
        """Read a mapping that has the required keys and, beside them, only optional ones."""
        if not isinstance(self.value, dict):
            self.refuse(f"must be a mapping, is {self.value!r}")
        required, allowed = tuple(required), (*required, *optional)
        for key in self.value:
            if key not in allowed:
                self.refuse(f"unknown key {key!r}; known are {', '.join(allowed)}")
        for key in required:
            if key not in self.value:
                self.refuse(f"the key {key!r} is missing")
        return {key: Node(f"{self.path}.{key}", value) for key, value in self.value.items()}

    def items(self) -> list[Node]:
        """Read a list."""
        if not isinstance(self.value, list):
            self.refuse(f"must be a list, is {self.value!r}")
        return [Node(f"{self.path}[{index}]", value) for index, value in enumerate(self.value)]

    def text(self, pattern: str = r"(?s).+", meaning: str = "text that is not empty") -> str:
        """Read text that matches the whole pattern."""
        if not isinstance(self.value, str):
            self.refuse(f"must be text in quotes, is {self.value!r}")
        if not re.fullmatch(pattern, self.value):
            self.refuse(f"must be {meaning}, is {self.value!r}")
        return self.value

    def choice(self, allowed: Iterable[str]) -> str:
        """Read one of some texts."""
        allowed = tuple(allowed)
        if self.value not in allowed:
            self.refuse(f"must be one of {', '.join(allowed)}, is {self.value!r}")
        return str(self.value)

    def integer(self, low: int, high: int) -> int:
        """Read a whole number within bounds."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            self.refuse(f"must be a whole number from {low} to {high}, is {self.value!r}")
        return self.value

    def flag(self) -> bool:
        """Read true or false."""
        if not isinstance(self.value, bool):
            self.refuse(f"must be true or false, is {self.value!r}")
        return self.value

    def parse(self, convert: Callable[[str], T], meaning: str) -> T:
        """Read text by a function that raises ValueError for what it can't read."""
        text = self.text()
        try:
            return convert(text)
        except ValueError as error:
            self.refuse(f"must be {meaning}: {error}")

    def pairs(self) -> dict[str, str]:
        """Read a mapping from text to text."""
        if not isinstance(self.value, dict) or not all(isinstance(key, str) for key in self.value):
            self.refuse(f"must be a mapping from text to text, is {self.value!r}")
        return {
            key: Node(f"{self.path}.{key}", value).text(r"(?s).*", "text")
            for key, value in self.value.items()
        }
