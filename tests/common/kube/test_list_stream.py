"""Lists that are read piece by piece."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.kube import list_stream
from common.kube.list_stream import ListReader, NotAList

pytestmark = pytest.mark.pure


def read(*chunks: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    reader = ListReader(lambda item: item)
    reader.read(chunks)
    return reader.metadata, reader.items


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(st.lists(OBJECTS, max_size=4), OBJECTS, st.data())
def test_any_list_is_read_wherever_it_is_cut(
    items: list[dict[str, Any]], metadata: dict[str, Any], data: st.DataObject
) -> None:
    members = [("kind", "PodList"), ("metadata", metadata), ("items", items), ("more", 12)]
    whole = dict(data.draw(st.permutations(members)))
    text = json.dumps(
        whole, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 2]))
    ).encode()
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=5))})
    assert read(*(text[start:end] for start, end in pairwise(cuts)), b"\n") == (metadata, items)


@pytest.mark.parametrize(
    "text", ['{"items": null}', '{"items": [], "metadata": null}', '{"kind": "PodList"}']
)
def test_a_list_may_be_empty(text: str) -> None:
    assert read(text.encode()) == ({}, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "ends in its middle"),
        (b"[]", "has '[' where"),
        (b'{"items": [{}', "ends in its middle"),
        (b'{"items": [{} {}]}', "where one of ',]'"),
        (b'{"items": [1]}', "an item of the list is no object"),
        (b'{"items": []', "ends in its middle"),
        (b'{"items" []}', "where one of ':'"),
        (b'{"a": nonsense}', "is no JSON"),
        (b'{"a": \xff}', "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
    ],
)
def test_what_is_no_list_is_said(text: bytes, told: str) -> None:
    with pytest.raises(NotAList, match=told.replace("[", r"\[")):
        read(text)


def test_an_object_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_stream, "MAX_OBJECT", 1000)
    with pytest.raises(NotAList, match="more than 1000 characters"):
        read(b'{"items": [{"a": "', b"b" * 2000, b'"}]}')
