"""Requests and answers of EC2's Query API, in the form that botocore gives them to its callers. Pure.

"Amazon EC2 query API" in the EC2 developer guide; names of lists are those of botocore's model of EC2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from xml.parsers import expat

API_VERSION = "2016-11-15"
MAX_DEPTH = 16
"""Elements within each other; EC2's have eight."""

_PARAMETERS = {
    "Filters": "Filter",
    "NetworkInterfaceIds": "NetworkInterfaceId",
    "PrivateIpAddresses": "PrivateIpAddress",
    "Values": "Value",
}
"""Lists whose parameters have another name than botocore's."""
_LISTS = {
    "assignedIpv6Addresses": "AssignedIpv6Addresses",
    "assignedPrivateIpAddressesSet": "AssignedPrivateIpAddresses",
    "ipv4PrefixSet": "Ipv4Prefixes",
    "ipv6AddressesSet": "Ipv6Addresses",
    "ipv6CidrBlockAssociationSet": "Ipv6CidrBlockAssociationSet",
    "ipv6PrefixSet": "Ipv6Prefixes",
    "networkInterfaceSet": "NetworkInterfaces",
    "privateIpAddressesSet": "PrivateIpAddresses",
    "subnetSet": "Subnets",
    "tagSet": "TagSet",
}
"""Elements that are lists; others with items (groups, …) are not read by anybody."""
_STRUCTURES = frozenset({"attachment", "ipv6CidrBlockState", "operator"})
_NUMBERS = frozenset({"deviceIndex", "networkCardIndex"})
_TRUTHS = frozenset({"isPrimaryIpv6", "managed", "primary", "requesterManaged"})


class NotAnAnswerError(ValueError):
    """What came is neither an answer of EC2's to this operation nor an error of EC2's."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"with HTTP {status} it begins with {body[:40]!r}")
        self.status = status


class RefusedError(Exception):
    """EC2 answers with an error."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def form(operation: str, parameters: Mapping[str, Any], version: str = API_VERSION) -> bytes:
    """Return the body of a request; `parameters` are those of botocore's method."""
    pairs = [("Action", operation), ("Version", version)]
    for name, value in parameters.items():
        pairs += _flat(_PARAMETERS.get(name, name), value)
    return urlencode(pairs).encode("ascii")


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{_PARAMETERS.get(key, key)}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value, 1):
            yield from _flat(f"{name}.{number}", inner)
    else:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


def read_answer(operation: str, status: int, body: bytes) -> dict[str, Any]:
    """Read an answer; raises RefusedError for an error of EC2's, NotAnAnswerError."""
    root, contents = _parsed(body, status)
    if status == 200 and root == f"{operation}Response":
        return contents
    try:
        error = contents["Errors"]["Error"]
        code, message = str(error["Code"]), str(error.get("Message", ""))
    except (KeyError, TypeError, AttributeError):
        raise NotAnAnswerError(status, body) from None
    if root != "Response" or not code:
        raise NotAnAnswerError(status, body)
    raise RefusedError(code, message, status if status >= 300 else 400)


def _parsed(body: bytes, status: int) -> tuple[str, dict[str, Any]]:
    """Return the name of the outermost element, and its contents; raises NotAnAnswerError."""
    reader = _Reader()
    try:
        reader.read(body)
    except (expat.ExpatError, ValueError):
        raise NotAnAnswerError(status, body) from None
    contents = reader.value
    return reader.root, contents if isinstance(contents, dict) else {}


class _Reader:
    """Builds what botocore's parser builds: dictionaries, lists, texts, numbers and truths."""

    def __init__(self) -> None:
        self.root = ""
        self.value: Any = None
        # One entry for each open element: its contents, and its text.
        self._contents: list[dict[str, Any]] = []
        self._items: list[list[Any]] = []
        self._texts: list[list[str]] = []

    def read(self, body: bytes) -> None:
        """Read a document; raises ExpatError, or ValueError for what is no document of EC2's."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        parser.Parse(body, True)

    def _start(self, name: str, _: object) -> None:
        if not self._contents:
            self.root = name
        if len(self._contents) == MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        self._contents.append({})
        self._items.append([])
        self._texts.append([])

    def _text(self, text: str) -> None:
        self._texts[-1].append(text)

    def _end(self, name: str) -> None:
        contents, items, text = self._contents.pop(), self._items.pop(), "".join(self._texts.pop())
        if not self._contents:
            self.value = contents
        elif name == "item":
            self._items[-1].append(contents or text)
        elif name in _LISTS:
            self._contents[-1][_LISTS[name]] = items
        else:
            self._contents[-1][name[:1].upper() + name[1:]] = contents or items or _leaf(name, text)


def _leaf(name: str, text: str) -> dict[str, Any] | str | int | bool:
    if name in _STRUCTURES:
        return {}
    if name in _TRUTHS:
        return text == "true"
    return int(text) if name in _NUMBERS else text


def _refuse(*_: object) -> None:
    raise ValueError("it declares a document type, which EC2 never does")
