"""Manifests as text: without a patch the same bytes, with one the same content but for the patch."""

import copy
import json
import math
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from webhook.manifests.documents import Document, DocumentError, patched_stream, read_documents
from webhook.manifests.yaml_scalars import plain_scalar

pytestmark = pytest.mark.pure

# As sigs.k8s.io/yaml 1.6 reads them, which kubectl uses.
SCALARS: list[tuple[str, Any]] = [
    ("", None), ("~", None), ("null", None), ("NULL", None), ("nULL", "nULL"),
    ("yes", True), ("On", True), ("y", True), ("TRUE", True), ("tRue", "tRue"), ("n", False), ("off", False),
    ("0", 0), ("-0", 0), ("+7", 7), ("1_000", 1000), ("0123", 83), ("0o17", 15), ("0O17", 15), ("-0x1F", -31),
    ("0b101", 5), ("08", 8.0), ("0b12", "0b12"), ("0x", "0x"), ("-", "-"), ("+", "+"),
    ("9223372036854775807", 9223372036854775807), ("18446744073709551615", 18446744073709551615),
    ("18446744073709551616", 18446744073709551616.0), ("-9223372036854775808", -9223372036854775808),
    ("-9223372036854775809", -9223372036854775809.0), ("9" * 400, "9" * 400),
    ("1e3", 1000.0), ("1E+3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-1.5e-3", -0.0015), ("1e", "1e"),
    ("1e400", "1e400"), (".", "."), ("..", ".."), (".inf", math.inf), ("-.INF", -math.inf),
    (".Inf.", ".Inf."),
    ("12:30", "12:30"), ("1:2:3", "1:2:3"), ("2024-01-01", "2024-01-01"), ("1.2.3", "1.2.3"), ("=", "="),
    ("0x1p4", "0x1p4"), ("1f", "1f"), ("inf", "inf"), ("NaN", "NaN"), ("a", "a"), ("٣", "٣"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text[:20] for text, _ in SCALARS])
def test_a_plain_scalar_is_what_it_is_to_kubectl(text: str, value: Any) -> None:
    read = plain_scalar(text)
    assert (type(read), read) == (type(value), value)


def test_the_yaml_scalar_nan_is_a_number() -> None:
    assert math.isnan(float(plain_scalar(".nan") or 0))


def values(stream: str) -> list[Any]:
    return [json.loads(document.json) for document in read_documents(stream.encode())]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("a: 1\n1: b\non: c\n1.0: d\n", [{"a": 1, "1": "d", "true": "c"}]),
        ("a: '1'\nb: ! '2'\nc: !!str 3\nd: !!int '4'\ne: !other 5\nf: !!bool off\n",
         [{"a": "1", "b": "2", "c": "3", "d": 4, "e": "5", "f": False}]),
        ("a: 1\na: 2\n", [{"a": 2}]),
        ("a: &x [1]\nb: *x\n", [{"a": [1], "b": [1]}]),
        ("a: &x {k: 1, l: 2}\nb: {k: 3, <<: *x}\n", [{"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}]),
        ("a: {<<: [{k: 1}, {k: 2, l: 3}]}\n", [{"a": {"k": 1, "l": 3}}]),
        ("a: {!!merge <<: {k: 1}, '<<': 2}\nb: <<\nc: [<<]\n",
         [{"a": {"k": 1, "<<": 2}, "b": "<<", "c": ["<<"]}]),
        ("a: &x 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("", [None]), ("# nothing\n", [None]), ("---\n", [None]), ("---\n---\n", [None, None]),
        ("a\n", ["a"]), ("- 1\n", [[1]]), ("{}\n", [{}]), ("  {}  ", [{}]), ("[{a: b}]", [[{"a": "b"}]]),
        ('{"a": 1}{"b": 2}\n {}', [{"a": 1}, {"b": 2}, {}]),
        ('{"a": 1}\n---\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('{"a": 1, b: 2}\n', [{"a": 1, "b": 2}]),
        ("%YAML 1.1\n---\na: 1\n...\n%TAG !e! tag:e,2000:\n---\nb: !e!x 2\n", [{"a": 1}, {"b": "2"}]),
        ("\ufeffa: 1\n", [{"a": 1}]), ('\ufeff{"a": 1}\n', [{"a": 1}]),
        ("a: .nan\n", [{"a": None}]),
    ],
)  # fmt: skip
def test_a_stream_is_what_it_is_to_kubectl(stream: str, expected: list[Any]) -> None:
    assert values(stream) == expected
    assert b"".join(document.text for document in read_documents(stream.encode())) == stream.encode()


@pytest.mark.parametrize("stream", ["a: *x\n---\nb: &x 1\n", "a: &x 1\n---\nb: *x\n"])
def test_anchors_end_with_their_document(stream: str) -> None:
    with pytest.raises(DocumentError, match=r"the alias \*x has no anchor before it"):
        read_documents(stream.encode())


def test_documents_are_counted_and_their_lines_said() -> None:
    stream = '# a\na: 1\n--- # b\n\nb: 2\n---\n{"c":\n 3}\n'
    assert [(d.number, d.line, d.is_json) for d in read_documents(stream.encode())] == [
        (1, 2, False), (2, 5, False), (3, 7, True)
    ]  # fmt: skip
    stream = '\n{"a": [\n1]}\n\n{"b": 2} {"c": 3}'
    assert [(d.number, d.line) for d in read_documents(stream.encode())] == [(1, 2), (2, 5), (3, 5)]


HARD_STRINGS = [
    *(text for text, _ in SCALARS if len(text) < 40),
    "a b", "x: y", "#c", "a #b", " lead", "trail ", "a\nb", "a\n\n b\n", "\na", "a\n\n", " \n", "é😀", "\t",
    "a\tb\n", "'", '"', "- a", "? a", "\u2028x", "\x85", "a\r\nb", "---", "...", "a\n---\nb\n", "%x", "!a",
    "&b", "*c", "@", "`", "|", ">", "{", "[a]", "a,b", "<<", "a" * 130, "x y " * 60, "k: |\n  x\n\n\n",
    "\ufeff", "\x7f", "\\n",
]  # fmt: skip
strings = st.sampled_from(HARD_STRINGS) | st.text(max_size=12).filter(
    lambda text: not any(0xD800 <= ord(character) < 0xE000 for character in text)
)
trees: st.SearchStrategy[Any] = st.recursive(
    strings | st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def styles(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "Dumper": draw(st.sampled_from([yaml.SafeDumper, yaml.CSafeDumper])),
        "default_flow_style": draw(st.sampled_from([True, False, None])),
        "default_style": draw(st.sampled_from([None, None, "'", '"', "|", ">"])),
        "allow_unicode": draw(st.booleans()),
        "indent": draw(st.sampled_from([2, 4])),
        "width": draw(st.sampled_from([20, 80, 1000])),
        "line_break": draw(st.sampled_from(["\n", "\r\n"])),
        "sort_keys": False,
    }


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """A YAML document that can be read, of any style, with things beside it that mean nothing."""
    tree = {"metadata": {"annotations": draw(trees.filter(lambda t: isinstance(t, dict)))},
            "spec": {"rest": draw(trees), "list": draw(st.lists(trees, max_size=2))}}  # fmt: skip
    text: str = yaml.dump(tree, **draw(styles()))
    return text


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    tree = {"metadata": {"annotations": draw(st.dictionaries(strings, trees, max_size=2))},
            "spec": {"rest": draw(trees), "list": draw(st.lists(trees, max_size=2))}}  # fmt: skip
    return json.dumps(
        tree, indent=draw(st.sampled_from([None, 2, 4, "\t"])), ensure_ascii=draw(st.booleans())
    )


@st.composite
def operations(draw: st.DrawFn) -> Any:
    made = [
        {"op": "add", "path": "/spec/initContainers", "value": [draw(trees)]},
        {"op": "add", "path": "/spec/initContainers/0", "value": draw(trees)},
        {"op": "add", "path": "/metadata/annotations/a~1b~0c", "value": draw(strings)},
        {"op": "add", "path": "/spec/list/-", "value": draw(trees)},
        {"op": "add", "path": "/spec/list/0", "value": draw(trees)},
    ]
    move = [
        {"op": "test", "path": "/spec/initContainers/1", "value": made[0]["value"][0]},
        {"op": "move", "from": "/spec/initContainers/1", "path": "/spec/initContainers/0"},
    ]
    return [*draw(st.permutations(made[2:])), *made[:2], *draw(st.sampled_from([[], move]))]


def read_one(text: str) -> Document | None:
    """Read one document; None where PyYAML has written what can't be read (a null key, say)."""
    try:
        documents = read_documents(text.encode())
    except DocumentError:
        return None
    return documents[0] if len(documents) == 1 else None


@given(yaml_texts() | json_texts(), operations())
def test_a_patched_document_says_the_same_but_for_the_patch(text: str, patch: Any) -> None:
    document = read_one(text)
    assume(document is not None)
    assert document is not None
    (again,) = read_documents(document.patched(patch))
    expected = jsonpatch.apply_patch(copy.deepcopy(json.loads(document.json)), patch)
    assert again.is_json == document.is_json
    assert json.loads(again.json) == json.loads(json.dumps(expected))


PIECES = [
    "# a comment\na:   1   # with one more\n",
    "é: '😀'   # é\nb: \"a\u2028c \x85 d\"\n",
    "\n\n{a: [1,   2],}\n",
    "a: |\n  text\n\n   more\n\n",
    "a: |+\n  keep\n\n\n",
    '{"a":   1}\n',
    "# nothing\n",
    "",
    "- a\r\n- b\r\n",
    "a scalar\n",
    "a: b\n...\n# between\n",
]


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6),
    st.sampled_from(["", "\ufeff", "# head\n", "---\n", "\ufeff---\n"]),
    st.lists(st.sampled_from(["---\n", "--- # why\n", "--- \n"]), min_size=6, max_size=6),
    st.integers(0, 6),
)
def test_only_the_patched_document_changes(
    pieces: list[str], head: str, marks: list[str], place: int
) -> None:
    target = "# Source: x\nspec: {}\nmetadata: # here\n  annotations: {}\n"
    pieces = [*pieces[:place], target, *pieces[place:]]
    first, *others = pieces
    separated = "".join(mark + piece for mark, piece in zip(marks, others, strict=False))
    stream = head + first + separated
    documents = read_documents(stream.encode())
    assert patched_stream(documents, {}) == stream.encode()
    index = next(i for i, document in enumerate(documents) if b"annotations" in document.text)
    patch = [{"op": "add", "path": "/spec/volumes", "value": [1]}]
    written = patched_stream(documents, {index: patch})
    again = read_documents(written)
    assert len(again) == len(documents)
    for before, after in zip(documents, again, strict=True):
        if before.number != index + 1:
            assert after.text == before.text
    assert json.loads(again[index].json) == {"spec": {"volumes": [1]}, "metadata": {"annotations": {}}}
    assert b"# Source: x\n" in again[index].text


def test_what_is_shared_is_changed_only_where_it_is_asked_for() -> None:
    stream = "a: &x {k: &y {l: 1}}\nb: *x\nc: {<<: *x}\nd: {<<: {<<: *x}}\ne: {<<: [{m: 1}, *x]}\n"
    (document,) = read_documents(stream.encode())
    for path in ("/a/k/n", "/b/k/n", "/c/k/n", "/d/k/n", "/e/k/n"):
        patch: Any = [{"op": "add", "path": path, "value": 2}]
        (again,) = read_documents(document.patched(patch))
        expected = jsonpatch.apply_patch(json.loads(document.json), patch)
        assert json.loads(again.json) == expected


def test_aliases_stay_aliases_so_that_nothing_grows() -> None:
    lines = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 5)}]" for i in range(1, 8))
    stream = f"a0: &a0 [lol]\n{lines}\nspec: {{}}\n"
    (document,) = read_documents(stream.encode())
    written = document.patched([{"op": "add", "path": "/spec/x", "value": 1}])
    assert len(written) < 2 * len(stream)
    assert json.loads(read_documents(written)[0].json) == {**json.loads(document.json), "spec": {"x": 1}}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_and_indentation_stay(newline: str) -> None:
    block = newline.join(["# c", "spec:", "    a: |", "        b", "        c", ""])
    (document,) = read_documents(block.encode())
    written = document.patched([{"op": "add", "path": "/spec/x", "value": "y"}]).decode()
    assert written == newline.join(["# c", "spec:", "  a: |", "    b", "    c", "  x: 'y'", ""])
    text = newline.join(["{", '   "spec": {', '      "a": [ 1 ]', "   }", "}"])
    (document,) = read_documents(text.encode())
    written = document.patched([{"op": "add", "path": "/spec/x", "value": []}]).decode()
    assert written == newline.join(["{", '   "spec": {', '      "a": [ 1 ],', '      "x": []', "   }", "}"])


def test_tagged_scalars_keep_their_type_where_a_document_is_written_anew() -> None:
    (document,) = read_documents(b"a: !!int '1'\nb: !!bool \"false\"\nc: !!null ''\nd: !!str 2\nspec: {}\n")
    (again,) = read_documents(document.patched([{"op": "add", "path": "/spec/x", "value": 1}]))
    assert json.loads(again.json) == {"a": 1, "b": False, "c": None, "d": "2", "spec": {"x": 1}}


def test_a_byte_order_mark_stays_in_its_place() -> None:
    for stream in ("\ufeffspec: {}\n", "\ufeff--- {spec: {}}\n", '\ufeff{"spec": {}}'):
        (document,) = read_documents(stream.encode())
        written = document.patched([{"op": "add", "path": "/spec/x", "value": 1}])
        assert written.startswith("\ufeff".encode())
        assert json.loads(read_documents(written)[0].json) == {"spec": {"x": 1}}


@given(st.binary(max_size=60) | st.text("-? :[]{}#&*!|>'\"%@`,ab01\n\t ", max_size=40).map(str.encode))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        documents = read_documents(data)
    except DocumentError:
        return
    assert b"".join(document.text for document in documents) == data
    for document in documents:
        json.loads(document.json)
