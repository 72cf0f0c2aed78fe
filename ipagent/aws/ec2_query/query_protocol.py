"""Requests and answers of EC2's Query API, in the form that botocore gives them to its callers. Pure.

"Amazon EC2 query API" in the EC2 developer guide; names of lists are those of botocore's model of EC2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.parsers import expat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

API_VERSION = "2016-11-15"
MAX_DEPTH = 16
"""Elements within each other; EC2's have eight."""
_ENCODING = "utf-8"
"""Of answers, whatever they declare, as for botocore's parser."""

_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_PLAIN = {**{ord(character): character for character in _UNRESERVED}, ord(" "): "+"}
"""What is not quoted in a form, by its byte."""
_PARAMETERS = {
    "Filters": "Filter",
    "Ipv4Prefixes": "Ipv4Prefix",
    "Ipv6Prefixes": "Ipv6Prefix",
    "NetworkInterfaceIds": "NetworkInterfaceId",
    "PrivateIpAddresses": "PrivateIpAddress",
    "SubnetIds": "SubnetId",
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
_LISTS_OF_TEXTS = frozenset({"assignedIpv6Addresses"})
_STRUCTURES = frozenset(
    {
        *("attachment", "ipv6CidrBlockState", "operator"),
        *("AssumeRoleWithWebIdentityResult", "Credentials", "Errors", "Error"),
    }
)
"""All others are texts to their readers: what else has elements in it is not read by anybody."""
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
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs).encode("ascii")


def _quoted(text: str) -> str:
    """Write a text of a form, as `urllib.parse.quote_plus` does it, whose import costs more than the call."""
    return "".join(_PLAIN.get(byte) or f"%{byte:02X}" for byte in text.encode())


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
    return reader.root, reader.contents


class _Reader:
    """Builds what botocore's parser builds: dictionaries, lists, texts, numbers and truths."""

    def __init__(self) -> None:
        self.root = ""
        self.contents: dict[str, Any] = {}
        # Of each open element: its name, fields, items and parts of text.
        self._open: list[tuple[str, dict[str, Any], list[Any], list[str]]] = []

    def read(self, body: bytes) -> None:
        """Read a document; raises ExpatError, or ValueError for what is no document of EC2's."""
        parser = expat.ParserCreate(_ENCODING)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        parser.Parse(body, True)

    def _start(self, name: str, _: object) -> None:
        if len(self._open) == MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if ":" in name:
            raise ValueError("it has names of another namespace, which EC2's never have")
        self._open.append((name, {}, [], []))

    def _text(self, text: str) -> None:
        self._open[-1][3].append(text)

    def _end(self, name: str) -> None:
        _, fields, items, texts = self._open.pop()
        if not self._open:
            self.root, self.contents = name, fields
            return
        parent, siblings, others, _ = self._open[-1]
        if name == "item":
            others.append("".join(texts) if parent in _LISTS_OF_TEXTS else fields)
        elif name in _LISTS:
            siblings[_LISTS[name]] = items
        elif name in _STRUCTURES:
            # Of several errors the first one counts.
            siblings.setdefault(_botocores(name), fields)
        else:
            siblings[_botocores(name)] = _leaf(name, "".join(texts))


def _botocores(name: str) -> str:
    return name[:1].upper() + name[1:]


def _leaf(name: str, text: str) -> str | int | bool:
    if name in _TRUTHS:
        return text == "true"
    return int(text) if name in _NUMBERS else text


def _refuse(*_: object) -> None:
    raise ValueError("it declares a document type, which EC2 never does")
