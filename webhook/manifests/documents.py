"""Streams of YAML or JSON documents: each is written byte for byte as it was read, unless it is patched.

A stream that starts with `{"` is JSON, one document after the other, as for kubectl; anything else is YAML,
in which a document may be JSON too.
"""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from webhook.core.patch import Operation
from webhook.manifests.json_text import JsonError, patched_json, read_json
from webhook.manifests.yaml_editor import patched_yaml
from webhook.manifests.yaml_reader import YamlDocument, YamlError, read_yaml

MAX_INPUT = 256 << 20
"""Bytes of a stream: the pods of a large cluster, as kubectl prints them."""
MAX_YAML = 64 << 20
"""Bytes of a YAML stream: reading YAML takes a hundred times as long as reading JSON."""
_PART = 1 << 20
_BOM = "\ufeff"
_JSON_START = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*["}]')


class DocumentError(Exception):
    """The input can't be read; the text says which document (from 1), which line, and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document. Its text is `head` (what stands before its value), `body`, `tail`; `line` counts from 1.

    `json` is what kubectl would send to the API server.
    """

    number: int
    line: int
    json: bytes
    head: bytes
    body: bytes
    tail: bytes
    is_json: bool

    @property
    def text(self) -> bytes:
        """The document as it was read, byte for byte."""
        return self.head + self.body + self.tail

    def patched(self, operations: Sequence[Operation]) -> bytes:
        """Return the text with the operations applied; without operations it is the text as it was read."""
        if not operations:
            return self.text
        if self.is_json:
            return self.head + patched_json(self.body, operations) + self.tail
        return self._patched_yaml(operations)

    def _patched_yaml(self, operations: Sequence[Operation]) -> bytes:
        head = self.head.decode()
        mark = _BOM if head.startswith(_BOM) else ""
        head = head.removeprefix(_BOM)
        line_break = "\r\n" if b"\r\n" in self.body else "\n"
        body = patched_yaml(head + self.body.decode(), operations, line_break)
        # The root node is written at the start of a line, wherever it stood.
        head = head.rstrip(" \t")
        if head and head[-1] not in "\r\n":
            head += line_break
        return (mark + head + body).encode() + self.tail


def read_documents(data: bytes) -> list[Document]:
    """Split a stream into documents; their texts together are the stream. Raises DocumentError."""
    if len(data) > MAX_INPUT:
        raise DocumentError(f"the input is larger than {MAX_INPUT >> 20} MiB: split it")
    _check_utf8(data)
    if not _JSON_START.match(data):
        return _read_yaml(data)
    try:
        return _read_json(data)
    except JsonError as error:
        # `{"a": 1}` may also begin a YAML stream; if that fails too, the JSON error says more.
        try:
            return _read_yaml(data)
        except DocumentError:
            raise _error(error) from None


def patched_stream(documents: Sequence[Document], operations: Mapping[int, Sequence[Operation]]) -> bytes:
    """Return the stream with the operations applied, which are given by index of the document (from 0)."""
    return b"".join(document.patched(operations.get(index, ())) for index, document in enumerate(documents))


def _check_utf8(data: bytes) -> None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DocumentError(
            "the input is not UTF-8 but UTF-16, as PowerShell's > writes it: write it as UTF-8 "
            "(Out-File -Encoding utf8)"
        )
    # In parts: the text of a large input would take up to four times its bytes.
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _PART):
        try:
            decoder.decode(data[start : start + _PART], final=start + _PART >= len(data))
        except UnicodeDecodeError:
            line = data.count(b"\n", 0, start) + 1
            raise DocumentError(f"the input is not UTF-8 (at line {line} or after it)") from None


def _error(error: JsonError | YamlError) -> DocumentError:
    return DocumentError(f"document {error.document}, line {error.line}: {error}")


def _read_json(data: bytes) -> list[Document]:
    return [
        Document(number, part.line, part.body, part.head, part.body, part.tail, is_json=True)
        for number, part in enumerate(read_json(data), 1)
    ]


def _read_yaml(data: bytes) -> list[Document]:
    if len(data) > MAX_YAML:
        raise DocumentError(
            f"the input is more than {MAX_YAML >> 20} MiB of YAML: give it as JSON (kubectl get -o json)"
        )
    text = data.decode()
    # libyaml does not count a byte order mark as a character, and its indices are used below.
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    try:
        parts = list(read_yaml(text))
    except YamlError as error:
        raise _error(error) from None
    if not parts:
        return [Document(1, 1, b"null", (mark + text).encode(), b"", b"", is_json=False)]
    # Text before the first document belongs to it; text after a document belongs to that document.
    ends = [*(part.start for part in parts[1:]), len(text)]
    starts = [0, *ends]
    documents = [
        _yaml_document(number, part, text, slice(start, end))
        for number, (part, start, end) in enumerate(zip(parts, starts, ends, strict=False), 1)
    ]
    if mark:
        documents[0] = dataclasses.replace(documents[0], head=mark.encode() + documents[0].head)
    return documents


def _yaml_document(number: int, part: YamlDocument, text: str, place: slice) -> Document:
    flow = text[part.root : part.end].encode()
    is_json = _is_json(flow)
    tail = part.end if is_json else part.tail
    return Document(
        number=number,
        line=part.line,
        json=flow if is_json else msgspec.json.encode(part.value),
        head=text[place.start : part.root].encode(),
        body=text[part.root : tail].encode(),
        tail=text[tail : place.stop].encode(),
        is_json=is_json,
    )


def _is_json(body: bytes) -> bool:
    if not _JSON_START.match(body):
        return False
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
