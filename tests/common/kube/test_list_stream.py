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
    metadata = {**metadata, "resourceVersion": "7"}
    members = [("kind", "PodList"), ("metadata", metadata), ("items", items), ("more", 12)]
    whole = dict(data.draw(st.permutations(members)))
    text = json.dumps(
        whole, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 2]))
    ).encode()
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=5))})
    assert read(*(text[start:end] for start, end in pairwise(cuts)), b"\n") == (metadata, items)


def listing(items: str, metadata: str = '{"resourceVersion": "7"}', kind: str = '"PodList"') -> bytes:
    return f'{{"kind": {kind}, "metadata": {metadata}, "items": {items}}}'.encode()


def test_a_list_may_be_empty() -> None:
    assert read(listing("[]")) == ({"resourceVersion": "7"}, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"a": 1}', "of the kind 'None', and not a list"),
        (
            b'{"kind": "Status", "metadata": {}, "status": "Success", "code": 200}',
            "of the kind 'Status', and not a list",
        ),
        (listing("[]", kind='"Pod"'), "of the kind 'Pod', and not a list"),
        (listing("[]", kind='["PodList"]'), "and not a list"),
        (listing("null"), "has no items"),
        (listing('{"a": {}}'), "has no items"),
        (b'{"kind": "PodList", "metadata": {"resourceVersion": "7"}}', "has no items"),
        (listing("[]", metadata="{}"), "has no resourceVersion"),
        (listing("[]", metadata="null"), "has no resourceVersion"),
        (listing("[]", metadata='{"resourceVersion": ""}'), "has no resourceVersion"),
        (listing("[]", metadata='{"resourceVersion": 7}'), "has no resourceVersion"),
    ],
)
def test_an_answer_counts_as_a_list_only_if_it_says_so(text: bytes, told: str) -> None:
    """What a list lacks counts as gone."""
    with pytest.raises(NotAList, match=told):
        read(text)


def test_each_page_says_so_itself() -> None:
    reader = ListReader(lambda item: item)
    reader.read([listing('[{"a": 1}]')])
    with pytest.raises(NotAList, match="and not a list"):
        reader.read([b'{"kind": "Status"}'])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "ends in its middle"),
        (b"[]", "has '[' where"),
        (b'{"items": [{}', "ends in its middle"),
        (b'{"items": [{} {}]}', "where one of ',]'"),
        (b'{"items": [1]}', "an item of the list is not an object"),
        (b'{"items": []', "ends in its middle"),
        (b'{"items" []}', "where one of ':'"),
        (b'{"a": nonsense}', "is not JSON"),
        (b'{"a": \xff}', "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
    ],
)
def test_what_is_not_a_list_is_said(text: bytes, told: str) -> None:
    with pytest.raises(NotAList, match=told.replace("[", r"\[")):
        read(text)


def test_an_object_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_stream, "MAX_OBJECT", 1000)
    with pytest.raises(NotAList, match="more than 1000 characters"):
        read(b'{"items": [{"a": "', b"b" * 2000, b'"}]}')
