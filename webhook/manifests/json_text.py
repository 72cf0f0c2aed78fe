"""JSON streams: split them into documents, and patch the text of a document.

A patch decodes only the containers on its paths; everything else keeps its text, including the spelling of
numbers and escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.core.patch import Operation
from webhook.manifests.json_patch import apply_operations

_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(rb"[\[{][ \t]*(\r?\n)([ \t]+)")


class JsonError(Exception):
    """The stream can't be read; `document` and `line` count from 1."""

    def __init__(self, document: int, line: int, problem: str) -> None:
        super().__init__(problem)
        self.document = document
        self.line = line


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """One document: its value is `body`, white space around it `head` and `tail`; `line` counts from 1."""

    head: bytes
    body: bytes
    tail: bytes
    line: int


def read_json(data: bytes) -> list[JsonDocument]:
    """Split a stream of UTF-8 into documents. Raises JsonError."""
    try:
        body = bytes(msgspec.json.decode(data, type=msgspec.Raw))
    except RecursionError:
        raise JsonError(1, 1, "nested too deeply") from None
    except msgspec.DecodeError:
        return _read_many(data.decode())
    start = data.index(body[:1])
    line = data.count(b"\n", 0, start) + 1
    return [JsonDocument(data[:start], body, data[start + len(body) :], line)]


def _read_many(text: str) -> list[JsonDocument]:
    documents: list[JsonDocument] = []
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    start, line = _spaces(text, 0), 1
    head = text[:start]
    while start < len(text) or not documents:
        line += head.count("\n")
        try:
            _, end = decoder.raw_decode(text, start)
        except RecursionError:
            raise JsonError(len(documents) + 1, line, "nested too deeply") from None
        except json.JSONDecodeError as error:
            raise JsonError(len(documents) + 1, error.lineno, f"not JSON: {error.msg}") from None
        except ValueError as error:
            raise JsonError(len(documents) + 1, line, f"not JSON: {error}") from None
        following = _spaces(text, end)
        body, tail = text[start:end], text[end:following]
        documents.append(JsonDocument(head.encode(), body.encode(), tail.encode(), line))
        line += body.count("\n") + tail.count("\n")
        start, head = following, ""
    return documents


def _spaces(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def patched_json(body: bytes, operations: Iterable[Operation]) -> bytes:
    """Write a document with the operations applied, indented like the document itself."""
    tree = RawTree(body)
    apply_operations(tree, operations)
    indent = _INDENT.match(body)
    line_break, unit = indent.groups() if indent else (b"", b"")
    return b"".join(_Writer(line_break, unit, ascii_only=body.isascii()).parts(tree.root, 0))


class RawTree:
    """JSON text as json_patch.Tree: containers that were not entered are msgspec.Raw."""

    def __init__(self, body: bytes) -> None:
        self.root = _open_container(body)

    def enter(self, container: Any, key: str) -> Any:
        """Decode the container under the key, one level deep."""
        place: Any = int(key) if isinstance(container, list) else key
        if isinstance(container[place], msgspec.Raw):
            container[place] = _open_container(container[place])
        return container[place]

    def insert_or_set(self, container: Any, key: str, value: Any) -> None:
        """Set an object's key, or insert into a list."""
        if isinstance(container, list):
            container.insert(len(container) if key == "-" else int(key), value)
        else:
            container[key] = value

    def remove(self, container: Any, key: str) -> Any:
        """Remove an item from a list and return it."""
        return container.pop(int(key))

    def build(self, value: Any) -> Any:
        """Return the value with its containers copied: later operations may change them."""
        if isinstance(value, dict):
            return {key: self.build(item) for key, item in value.items()}
        return [self.build(item) for item in value] if isinstance(value, list | tuple) else value


def _open_container(raw: Any) -> Any:
    if bytes(raw).lstrip()[:1] == b"[":
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Writer:
    line_break: bytes
    unit: bytes
    ascii_only: bool

    def parts(self, value: Any, level: int) -> Iterable[bytes]:
        if isinstance(value, msgspec.Raw):
            yield bytes(value)
        elif isinstance(value, dict) and value:
            items = ((self._text(key) + (b": " if self.unit else b":"), item) for key, item in value.items())
            yield from self._container(b"{", b"}", items, level)
        elif isinstance(value, list) and value:
            yield from self._container(b"[", b"]", ((b"", item) for item in value), level)
        else:
            yield self._text(value)

    def _container(
        self, opening: bytes, closing: bytes, items: Iterable[tuple[bytes, Any]], level: int
    ) -> Iterable[bytes]:
        yield opening
        for index, (key, item) in enumerate(items):
            yield (b"," if index else b"") + self.line_break + self.unit * (level + 1) + key
            yield from self.parts(item, level + 1)
        yield self.line_break + self.unit * level + closing

    def _text(self, value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=self.ascii_only).encode()
