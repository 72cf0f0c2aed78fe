"""Read YAML streams: where each document starts and ends, and its value as kubectl reads it.

libyaml's events are processed one by one without recursion, so that depth and the expansion of aliases are
bounded before any value is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.reader import ReaderError

from webhook.manifests.yaml_scalars import plain_scalar

MAX_DEPTH = 200
"""Nesting. The API's own types need less than 30, schemas in CustomResourceDefinitions about 100."""
MAX_EXPANDED = 64 << 20
"""Approximate bytes that all aliases of a stream may expand to."""
NODE_COST = 4
"""Approximate bytes of JSON for a node, beside its text."""
MERGE_TAG = "tag:yaml.org,2002:merge"


class YamlError(Exception):
    """The stream can't be read; `document` and `line` count from 1."""

    def __init__(self, document: int, line: int, problem: str) -> None:
        super().__init__(problem)
        self.document = document
        self.line = line


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document: its text starts at `start`, its root node is `text[root:end]` (indices of characters).

    `tail` is where the text after the node starts. `line` is the root node's, from 1. In `value` aliases
    share what they stand for, and keys are strings.
    """

    start: int
    root: int
    end: int
    tail: int
    line: int
    value: Any


def read_yaml(text: str) -> Iterator[YamlDocument]:
    """Read a stream. Raises YamlError."""
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            document = reader.feed(event)
            if document is not None:
                yield document
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else reader.line
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(reader.number, line, f"not YAML: {problem}") from None
    except ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise YamlError(reader.number, line, f"not YAML: {error.reason}") from None
    except _InvalidYaml as error:
        raise YamlError(reader.number, reader.line, str(error)) from None


class _Reader:
    """Turns events into documents; `number` and `line` are its position, both from 1."""

    def __init__(self) -> None:
        self.number = 1
        self.line = 1
        self._budget = _Budget()
        self._builder = _Builder(self._budget)
        self._start = 0
        # Index and line of the root node, once it has been seen.
        self._root: tuple[int, int] | None = None

    def feed(self, event: yaml.Event) -> YamlDocument | None:
        index, line = _place(event.start_mark)
        self.line = line
        if isinstance(event, yaml.DocumentStartEvent):
            self._start, self._root, self._builder = index, None, _Builder(self._budget)
        elif isinstance(event, yaml.DocumentEndEvent):
            self.number += 1
            root, line = self._root or (index, line)
            return YamlDocument(self._start, root, self._builder.end, index, line, self._builder.value)
        elif not isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent)):
            self._root = self._root or (index, line)
            self._builder.add(event)
        return None


def _place(mark: Any) -> tuple[int, int]:
    return mark.index, mark.line + 1


class _InvalidYaml(Exception):
    pass


@dataclass(slots=True)
class _Budget:
    left: int = MAX_EXPANDED


_MERGE = object()
"""The key `<<`."""


@dataclass(slots=True)
class _Collection:
    is_mapping: bool
    anchor: str | None
    cost: int = NODE_COST
    items: list[Any] = field(default_factory=list)


class _Builder:
    """Builds one document's value from its events."""

    def __init__(self, budget: _Budget) -> None:
        self.value: Any = None
        self.end = 0
        self._budget = budget
        self._open: list[_Collection] = []
        # Value and cost by name; None while the node is not complete.
        self._anchors: dict[str, tuple[Any, int] | None] = {}

    def add(self, event: yaml.Event) -> None:
        self.end, _ = _place(event.end_mark)
        if isinstance(event, yaml.ScalarEvent):
            self._complete(_scalar(event), NODE_COST + len(event.value), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._start(isinstance(event, yaml.MappingStartEvent), event.anchor)
        else:
            collection = self._open.pop()
            value = _mapping(collection.items) if collection.is_mapping else collection.items
            self._complete(value, collection.cost, collection.anchor)

    def _start(self, is_mapping: bool, anchor: str | None) -> None:
        if len(self._open) == MAX_DEPTH:
            raise _InvalidYaml(f"nested deeper than {MAX_DEPTH}")
        if anchor is not None:
            self._anchors[anchor] = None
        self._open.append(_Collection(is_mapping, anchor))

    def _alias(self, name: str | None) -> None:
        if name is None or name not in self._anchors:
            raise _InvalidYaml(f"the alias *{name} has no anchor before it")
        known = self._anchors[name]
        if known is None:
            raise _InvalidYaml(f"the anchor &{name} contains itself")
        value, cost = known
        self._budget.left -= cost
        if self._budget.left < 0:
            raise _InvalidYaml(f"its aliases expand to more than {MAX_EXPANDED >> 20} MiB")
        self._complete(value, cost, None)

    def _complete(self, value: Any, cost: int, anchor: str | None) -> None:
        if value is _MERGE and not self._at_key():
            value = "<<"
        if anchor is not None:
            self._anchors[anchor] = (value, cost)
        if self._open:
            self._open[-1].items.append(value)
            self._open[-1].cost += cost
        else:
            self.value = value

    def _at_key(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and len(self._open[-1].items) % 2 == 0


def is_plain(event: yaml.ScalarEvent) -> bool:
    """Return whether a scalar has neither quotes nor tag; libyaml calls the string `! "1"` plain too."""
    return event.implicit[0] and not event.style


def _scalar(event: yaml.ScalarEvent) -> Any:
    if is_plain(event):
        return _MERGE if event.value == "<<" else plain_scalar(event.value)
    if event.tag == MERGE_TAG:
        return _MERGE
    if event.tag in _RESOLVED_TAGS:
        return plain_scalar(event.value)
    return event.value


_RESOLVED_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))


def _mapping(items: list[Any]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        if key is _MERGE:
            for source in reversed(value if isinstance(value, list) else [value]):
                if not isinstance(source, dict):
                    raise _InvalidYaml("<< needs a mapping or a list of mappings")
                merged |= source
        else:
            own[_key(key)] = value
    return merged | own


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (int, float)):
        return str(key).removesuffix(".0")
    raise _InvalidYaml("a key is null, a list or a mapping: keys are strings")
