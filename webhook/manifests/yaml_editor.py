"""Patch a YAML document: order, quoting, block strings, anchors and tags are kept, comments are not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml
from yaml.composer import Composer

from webhook.core.patch import Operation
from webhook.manifests.json_patch import apply_operations
from webhook.manifests.yaml_reader import MERGE_TAG, is_plain
from webhook.manifests.yaml_scalars import plain_scalar

_STR = "tag:yaml.org,2002:str"
_SEQ = "tag:yaml.org,2002:seq"
_MAP = "tag:yaml.org,2002:map"
_TAGS: dict[type, str] = {
    str: _STR,
    bool: "tag:yaml.org,2002:bool",
    int: "tag:yaml.org,2002:int",
    float: "tag:yaml.org,2002:float",
    type(None): "tag:yaml.org,2002:null",
}
_PLAIN_EVERYWHERE = re.compile(r"[A-Za-z/][A-Za-z0-9_./@:-]*", re.ASCII)
"""Text that every YAML version reads as a string, apart from the words in yaml_scalars."""
UNLIMITED = 1 << 30


class _Rules:
    """Resolver with kubectl's rules for plain scalars instead of PyYAML's."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            if value == "<<" and implicit[0]:
                return MERGE_TAG
            return _TAGS[type(plain_scalar(value))] if implicit[0] else _STR
        return _SEQ if kind is yaml.SequenceNode else _MAP


class _Loader(_Rules, Composer, yaml.CSafeLoader):
    """libyaml's parser with PyYAML's composer, which can keep the styles of scalars."""

    def __init__(self, text: str) -> None:
        yaml.CSafeLoader.__init__(self, text)
        Composer.__init__(self)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        event: Any = self.get_event()
        plain_tag = self.resolve(yaml.ScalarNode, event.value, (True, False))
        explicit = None if event.tag == "!" else event.tag
        tag = explicit or (plain_tag if is_plain(event) else _STR)
        text, style = event.value, event.style
        if style and tag == plain_tag != _STR:
            # libyaml would write `!!int "1"` as `! "1"`, which is a string; a plain 1 is the same number.
            text, style = text or "null", ""
        node = yaml.ScalarNode(tag, text, style=style)
        if anchor is not None:
            self.anchors[anchor] = node
        return node


class _Dumper(_Rules, yaml.CSafeDumper):
    pass


def patched_yaml(text: str, operations: Iterable[Operation], line_break: str) -> str:
    """Write a document's root node with the operations applied.

    `text` starts at the document's directives or `---`; its depth was bounded when it was read.
    """
    tree = NodeTree(yaml.compose(text, Loader=_Loader))
    apply_operations(tree, operations)
    written: str = yaml.serialize(
        tree.root, Dumper=_Dumper, width=UNLIMITED, allow_unicode=True, line_break=line_break
    )
    return written


class NodeTree:
    """PyYAML's nodes as json_patch.Tree.

    An anchor and its aliases are one node object, so each container on the path of a change is replaced by a
    copy: the change does not show under the other names.
    """

    def __init__(self, root: Any) -> None:
        self.root = _copy_container(root)
        # The copies by identity; a reference to each keeps its identity from being reused.
        self._copies: dict[int, Any] = {}

    def enter(self, container: Any, key: str) -> Any:
        """Replace the container under the key by a copy, and return the copy."""
        if isinstance(container, yaml.SequenceNode):
            container.value[int(key)] = copy = self._copy(container.value[int(key)])
            return copy
        index = _index(container, key)
        if index is None:
            # The key comes from a merge: the mapping gets its own key, which takes precedence.
            key_node, value = _merged_pair(container, key)
            container.value.append((_copy_scalar(key_node), copy := self._copy(value)))
            return copy
        key_node, value = container.value[index]
        container.value[index] = (key_node, copy := self._copy(value))
        return copy

    def _copy(self, node: Any) -> Any:
        if id(node) in self._copies:
            return node
        copy = _copy_container(node)
        self._copies[id(copy)] = copy
        return copy

    def insert_or_set(self, container: Any, key: str, value: Any) -> None:
        """Set a mapping's key, or insert into a list."""
        if isinstance(container, yaml.SequenceNode):
            container.value.insert(len(container.value) if key == "-" else int(key), value)
            return
        index = _index(container, key)
        if index is None:
            container.value.append((self.build(key), value))
        else:
            container.value[index] = (container.value[index][0], value)

    def remove(self, container: Any, key: str) -> Any:
        """Remove an item from a list and return it."""
        return container.value.pop(int(key))

    def build(self, value: Any) -> yaml.Node:
        """Convert a JSON value into nodes; quote strings that some YAML reader reads as something else."""
        if isinstance(value, dict):
            pairs = [(self.build(key), self.build(item)) for key, item in value.items()]
            return yaml.MappingNode(_MAP, pairs, flow_style=not pairs)
        if isinstance(value, list | tuple):
            return yaml.SequenceNode(_SEQ, [self.build(item) for item in value], flow_style=not value)
        if isinstance(value, str):
            return yaml.ScalarNode(_STR, value, style=_style(value))
        text = {True: "true", False: "false", None: "null"}.get(value) if not _number(value) else repr(value)
        return yaml.ScalarNode(_TAGS[type(value)], text)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _style(text: str) -> str | None:
    if "\n" in text:
        return "|"
    plain = _PLAIN_EVERYWHERE.fullmatch(text) and isinstance(plain_scalar(text), str)
    return None if plain else '"' if "'" in text else "'"


def _copy_container(node: Any) -> Any:
    """Copy a container and its scalars; the containers in it stay shared."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(_copy_scalar(key), _copy_scalar(value)) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, flow_style=node.flow_style)
    if isinstance(node, yaml.SequenceNode):
        # An empty list is written as [], and what is put into it must not be squeezed between the brackets.
        flow = node.flow_style and bool(node.value)
        return yaml.SequenceNode(node.tag, [_copy_scalar(item) for item in node.value], flow_style=flow)
    return node


def _copy_scalar(node: Any) -> Any:
    # A scalar that the copy and the original shared would be written as an anchor and an alias.
    if isinstance(node, yaml.ScalarNode):
        return yaml.ScalarNode(node.tag, node.value, style=node.style)
    return node


def _index(mapping: Any, key: str) -> int | None:
    """Return the index of a key, None if it is absent; of duplicates the last counts."""
    places = (i for i, (node, _) in enumerate(mapping.value) if node.value == key and node.tag != MERGE_TAG)
    return max(places, default=None)


def _merged_pair(mapping: Any, key: str) -> tuple[Any, Any]:
    """Return what `<<` merges under a key: the last `<<` counts, of its mappings the first."""
    for node, value in reversed(mapping.value):
        if node.tag != MERGE_TAG:
            continue
        for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            index = _index(source, key)
            if index is not None:
                pair: tuple[Any, Any] = source.value[index]
                return pair
            if any(inner.tag == MERGE_TAG for inner, _ in source.value):
                try:
                    return _merged_pair(source, key)
                except KeyError:
                    continue
    raise KeyError(key)
