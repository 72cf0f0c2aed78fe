"""Decodes a list object by object as it arrives: decoded as a whole it takes ten times its text in memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Object = dict[str, Any]
Item = TypeVar("Item")

MAX_OBJECT = 8 << 20
"""Characters. An object may have 1.5 MiB (etcd's limit), and comes with its managed fields."""
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


class NotAList(ValueError):
    """The answer is not a list of objects."""


class ListReader(Generic[Item]):
    """Reads one list, page by page; `take` is called for each object and returns what is kept of it."""

    def __init__(self, take: Callable[[Object], Item]) -> None:
        self._take = take
        self.items: list[Item] = []
        self.metadata: Object = {}
        self._kind: object = None
        self._has_items = False

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read all of one answer; raises NotAList.

        What is not there counts as gone, so an answer counts as a list only if it says so itself: a kind that
        ends in List, `items` that are a list, and the resourceVersion of which they are complete (Kubernetes
        API conventions, "Lists and Simple kinds").
        """
        self._kind, self._has_items, self.metadata = None, False, {}
        text = _Text(chunks)
        text.expect("{")
        while True:
            key = text.value()
            text.expect(":")
            self._member(key, text)
            if text.one_of(",}") == "}":
                break
        self._check()

    def _check(self) -> None:
        if not isinstance(self._kind, str) or not self._kind.endswith("List"):
            raise NotAList(f"the answer is of the kind {str(self._kind)[:64]!r}, and not a list")
        if not self._has_items:
            raise NotAList("the answer has no items")
        if not isinstance(version := self.metadata.get("resourceVersion"), str) or not version:
            raise NotAList("the answer has no resourceVersion")

    def _member(self, key: object, text: _Text) -> None:
        if key == "items" and text.peek() == "[":
            self._read_items(text)
            self._has_items = True
            return
        value = text.value()
        if key == "kind":
            self._kind = value
        if key == "metadata" and isinstance(value, dict):
            self.metadata = value

    def _read_items(self, text: _Text) -> None:
        text.expect("[")
        if text.peek() == "]":
            text.expect("]")
            return
        while True:
            value = text.value()
            if not isinstance(value, dict):
                raise NotAList("an item of the list is not an object")
            self.items.append(self._take(value))
            if text.one_of(",]") == "]":
                return


class _Text:
    """JSON text of which only as much is kept as the next value needs."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = _decoded(chunks)
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """Look at the next character that is no space."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._more()

    def one_of(self, allowed: str) -> str:
        """Take one of these characters."""
        found = self.peek()
        if found not in allowed:
            raise NotAList(f"the answer has {found!r} where one of {allowed!r} was expected")
        self._at += 1
        return found

    def expect(self, character: str) -> None:
        """Take this character."""
        self.one_of(character)

    def value(self) -> object:
        """Take a value; it ends where something follows it, since a number could go on."""
        self.peek()
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise NotAList("the answer is nested too deep") from None
            except ValueError:
                end = len(self._text)
            if end < len(self._text):
                self._at = end
                return found
            held = len(self._text) - self._at
            if held > MAX_OBJECT:
                raise NotAList(f"an object has more than {MAX_OBJECT} characters, or is not JSON")
            # Twice as much before the next attempt: one for each chunk would be quadratic work.
            self._more(min(2 * held, MAX_OBJECT + 1))

    def _more(self, wanted: int = 1) -> None:
        """Read on until so many characters are there or the answer ends; raises NotAList at its end."""
        parts = [self._text[self._at :]]
        size = len(parts[0])
        while size < wanted and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            size += len(chunk)
        if len(parts) == 1:
            raise NotAList("the answer ends in its middle, or is not JSON")
        self._text = "".join(parts)
        self._at = 0


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks:
        try:
            yield decoder.decode(chunk)
        except UnicodeDecodeError:
            raise NotAList("the answer is not UTF-8") from None
