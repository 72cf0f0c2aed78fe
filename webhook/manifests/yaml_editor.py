"""A YAML document with a patch in it: order, quoting, block strings and tags stay, comments do not."""

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
"""Text that no version of YAML reads as something else than a string, but for the words of yaml_scalars."""
UNLIMITED = 1 << 30


class _Rules:
    """kubectl's rules for plain scalars, instead of PyYAML's."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            if value == "<<" and implicit[0]:
                return MERGE_TAG
            return _TAGS[type(plain_scalar(value))] if implicit[0] else _STR
        return _SEQ if kind is yaml.SequenceNode else _MAP


class _Loader(_Rules, Composer, yaml.CSafeLoader):
    """libyaml's events, composed by PyYAML's Python half, which can be told of scalars' styles."""

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
    """Write a document's root node with the operations carried out.

    `text` is the document from its directives or `---` on; it was read before, so its depth is bounded.
    """
    tree = NodeTree(yaml.compose(text, Loader=_Loader))
    apply_operations(tree, operations)
    written: str = yaml.serialize(
        tree.root, Dumper=_Dumper, width=UNLIMITED, allow_unicode=True, line_break=line_break
    )
    return written


class NodeTree:
    """PyYAML's nodes as edit.Tree.

    An anchored node is one object wherever its aliases stand, so each container on the way to a change is
    replaced by a copy of its own: what is the same elsewhere stays as it is.
    """

    def __init__(self, root: Any) -> None:
        self.root = _copied(root)
        # The copies by identity; keeping them keeps their identities from being given again.
        self._copies: dict[int, Any] = {}

    def enter(self, container: Any, key: str) -> Any:
        """Give a copy that has taken the place of the container under the key."""
        if isinstance(container, yaml.SequenceNode):
            container.value[int(key)] = copy = self._copy(container.value[int(key)])
            return copy
        index = _index(container, key)
        if index is None:
            # It comes by a merge: the mapping gets a key of its own, which wins.
            key_node, value = _merged_pair(container, key)
            container.value.append((_own(key_node), copy := self._copy(value)))
            return copy
        key_node, value = container.value[index]
        container.value[index] = (key_node, copy := self._copy(value))
        return copy

    def _copy(self, node: Any) -> Any:
        if id(node) in self._copies:
            return node
        copy = _copied(node)
        self._copies[id(copy)] = copy
        return copy

    def put(self, container: Any, key: str, value: Any) -> None:
        """Set a mapping's key, or insert into a list."""
        if isinstance(container, yaml.SequenceNode):
            container.value.insert(len(container.value) if key == "-" else int(key), value)
            return
        index = _index(container, key)
        if index is None:
            container.value.append((self.made(key), value))
        else:
            container.value[index] = (container.value[index][0], value)

    def take(self, container: Any, key: str) -> Any:
        """Remove an item from a list and give it."""
        return container.value.pop(int(key))

    def made(self, value: Any) -> yaml.Node:
        """Turn a JSON value into nodes; strings are quoted wherever some reader might take them for more."""
        if isinstance(value, dict):
            pairs = [(self.made(key), self.made(item)) for key, item in value.items()]
            return yaml.MappingNode(_MAP, pairs, flow_style=not pairs)
        if isinstance(value, list | tuple):
            return yaml.SequenceNode(_SEQ, [self.made(item) for item in value], flow_style=not value)
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


def _copied(node: Any) -> Any:
    """Copy a container and its scalars; the containers in it stay the shared ones."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(_own(key), _own(value)) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, flow_style=node.flow_style)
    if isinstance(node, yaml.SequenceNode):
        # An empty list is written as [], and what is put into it must not be squeezed between the brackets.
        flow = node.flow_style and bool(node.value)
        return yaml.SequenceNode(node.tag, [_own(item) for item in node.value], flow_style=flow)
    return node


def _own(node: Any) -> Any:
    # A scalar that the copy and the original shared would be written as an anchor and an alias.
    if isinstance(node, yaml.ScalarNode):
        return yaml.ScalarNode(node.tag, node.value, style=node.style)
    return node


def _index(mapping: Any, key: str) -> int | None:
    """Find a key; of equal ones the last counts."""
    places = (i for i, (node, _) in enumerate(mapping.value) if node.value == key and node.tag != MERGE_TAG)
    return max(places, default=None)


def _merged_pair(mapping: Any, key: str) -> tuple[Any, Any]:
    """Find what `<<` brings in under a key: the last `<<` counts, of its mappings the first."""
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
