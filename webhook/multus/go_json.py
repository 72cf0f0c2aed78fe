"""The JSON form of the networks annotation, decoded as Go's encoding/json decodes it for Multus.

Sources: multus-cni pkg/types/types.go (`NetworkSelectionElement`) and pkg/k8sclient/k8sclient.go
(`parsePodNetworkAnnotation`); encoding/json of Go 1.26 (decode.go, scanner.go, fold.go). What differs from
Python's json: keys are taken without regard to case, the last of several wins, null leaves a string as it
was, a wrong type is an error even where a later duplicate is right, NaN and Infinity are none, and the depth
is limited.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from webhook.multus.names import Refused, is_hardware_address, is_ip, is_ip_or_cidr, quote

Reader: TypeAlias = Callable[[Any, Any], Any]
"""The field's value so far and the JSON value -> the field's new value; raises Refused."""

_MAX_DEPTH = 10_000
"""maxNestingDepth of Go's scanner.go."""
_MAX_RECURSION = 200


def read_elements(text: str) -> list[dict[str, Any]]:
    """Return the elements' fields under their keys in lower case. Raises Refused.

    Strings are as Multus has them after decoding. `default-route` is a list of addresses, in which `""` is
    an entry without one.
    """
    elements = _decode(text)
    if type(elements) is not list:
        raise Refused(f"the JSON form is a list of objects, not {_kind(elements)}")
    read = []
    for index, element in enumerate(elements, 1):
        try:
            read.append(_element(element))
        except Refused as refused:
            raise Refused(f"element {index}: {refused}") from None
    return read


def _element(element: Any) -> dict[str, Any]:
    if element is None:
        raise Refused("null makes Multus crash")
    fields = _read_object(element, _ELEMENT)
    for key in ("mac", "infiniband-guid"):
        if (address := fields.get(key)) and not is_hardware_address(address):
            raise Refused(f"{quote(key)}: {quote(address)} is not a hardware address")
    if ips := fields.get("ips"):
        memory, length = ips
        for address in memory[:length]:
            if not is_ip_or_cidr(address):
                raise Refused(f"'ips': {quote(address)} is neither an IP address nor a CIDR")
    return fields


# Text -> values: an object becomes a tuple of its pairs (a key can occur twice), a list a list.


class _Number(str):
    """A number as it is written: what it may be depends on where it stands."""

    __slots__ = ()


def _refuse_constant(name: str) -> Any:
    raise Refused(f"the JSON is wrong: {name} is not a JSON number")


_JSON = json.JSONDecoder(
    object_pairs_hook=tuple, parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant
)
_SPACE = re.compile(r"[ \t\n\r]*")
_CLOSING = {"[": "]", "{": "}"}


def _decode(text: str) -> Any:
    try:
        # The json module recurses, and needs C stack or stops where Go does not.
        if text.count("[") + text.count("{") <= _MAX_RECURSION:
            return _JSON.decode(text)
        return _decode_without_recursion(text)
    except json.JSONDecodeError as error:
        near = f", near {quote(text[error.pos :][:20])}" if error.pos < len(text) else ""
        raise Refused(f"the JSON is wrong at character {error.pos + 1} ({error.msg}){near}") from None


def _decode_without_recursion(text: str) -> Any:
    """Do what _JSON.decode does, at any depth that Go allows."""
    items: list[list[Any]] = []  # of each open container; an object's are key, value, key, value
    closing: list[str] = []
    at = _after_space(text, 0)
    while True:
        if bracket := _CLOSING.get(text[at : at + 1]):
            if len(items) == _MAX_DEPTH:
                raise json.JSONDecodeError("exceeded max depth", text, at)
            items.append([])
            closing.append(bracket)
            at = _after_space(text, at + 1)
            if not text.startswith(bracket, at):
                at = _to_value(text, at, bracket, items[-1])
                continue
            value, at = _closed(items.pop(), closing.pop()), at + 1
        else:
            value, at = _JSON.raw_decode(text, at)
        value, at = _leave_containers(text, at, items, closing, value)
        if not items:
            break
        if not text.startswith(",", at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _to_value(text, _after_space(text, at + 1), closing[-1], items[-1])
    if at < len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    return value


def _leave_containers(
    text: str, at: int, items: list[list[Any]], closing: list[str], value: Any
) -> tuple[Any, int]:
    """Add a value to the innermost open container, and close every container that ends here."""
    at = _after_space(text, at)
    while items:
        items[-1].append(value)
        if not text.startswith(closing[-1], at):
            break
        value = _closed(items.pop(), closing.pop())
        at = _after_space(text, at + 1)
    return value, at


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _to_value(text: str, at: int, closing: str, items: list[Any]) -> int:
    """Return the position of the next value: in an object, after its key and colon."""
    if closing == "]":
        return at
    if not text.startswith('"', at):
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    key, at = _JSON.raw_decode(text, at)
    at = _after_space(text, at)
    if not text.startswith(":", at):
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    items.append(key)
    return _after_space(text, at + 1)


def _closed(items: list[Any], closing: str) -> Any:
    return items if closing == "]" else tuple(zip(items[::2], items[1::2], strict=True))


# Values -> fields, each as its Go type takes it.


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", _Number: "a number", str: "a string", list: "a list", tuple: "an object"}
    return kinds[type(value)]


def _must_be(what: str, value: Any) -> Refused:
    shown = f"the number {quote(value)}" if type(value) is _Number else _kind(value)
    return Refused(f"must be {what}, not {shown}")


def _read_object(value: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    if type(value) is not tuple:
        raise _must_be("an object", value)
    fields: dict[str, Any] = {}
    for key, item in value:
        # Go's folding of ASCII: besides lower(), which knows the Kelvin sign, the long s is an s.
        name = key if key in readers else key.lower().replace("\u017f", "s")
        if read := readers.get(name):
            try:
                fields[name] = read(fields.get(name), item)
            except Refused as refused:
                raise Refused(f"{quote(key)} {refused}") from None
    return fields


def _string(old: Any, value: Any) -> Any:
    if value is None:
        return old or ""
    if type(value) is not str:
        raise _must_be("a string", value)
    # A lone surrogate can only come from an escape, and is U+FFFD in Go.
    return (
        value
        if value.isascii()
        else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def _integer(_old: Any, value: Any) -> Any:
    if value is None:
        return
    whole = type(value) is _Number and re.fullmatch("-?[0-9]{1,19}", value)
    if not whole or not -(2**63) <= int(value) < 2**63:
        raise _must_be("a whole number of 64 bits", value)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise _must_be("a list", value)
    return value


def _strings(old: Any, value: Any) -> Any:
    """Read a list of strings as its memory and its length.

    Go decodes a second list into the memory of the first, where null leaves a string as it was.
    """
    if value is None or not _list(value):
        return None
    memory: list[str] = old[0] if old else []
    memory.extend("" for _ in range(len(value) - len(memory)))
    for index, item in enumerate(value):
        memory[index] = _string(memory[index], item)
    return memory, len(value)


def _gateways(_old: Any, value: Any) -> Any:
    if value is None:
        return []
    gateways = [_string("", item) for item in _list(value)]
    for gateway in gateways:
        if gateway and not is_ip(gateway):
            raise Refused(f"has {quote(gateway)}, which is not an IP address")
    return gateways


def _port_mappings(_old: Any, value: Any) -> Any:
    for item in () if value is None else _list(value):
        if item is not None:
            _read_object(item, _PORT_MAPPING)


def _bandwidth(_old: Any, value: Any) -> Any:
    if value is not None:
        _read_object(value, _BANDWIDTH)


def _cni_args(_old: Any, value: Any) -> Any:
    """Refuse what is not an object, and numbers that overflow a float64."""
    if value is not None and type(value) is not tuple:
        raise _must_be("an object", value)
    open_values: list[Any] = [value]
    while open_values:
        item = open_values.pop()
        if type(item) in (list, tuple):
            open_values.extend(item)
        elif type(item) is _Number and math.isinf(float(item)):
            raise _must_be("without overflow", item)


_ELEMENT: Mapping[str, Reader] = {
    "name": _string,
    "namespace": _string,
    "ips": _strings,
    "mac": _string,
    "infiniband-guid": _string,
    "interface": _string,
    "interfacerequest": _string,
    "portmappings": _port_mappings,
    "bandwidth": _bandwidth,
    "deviceid": _string,
    "cni-args": _cni_args,
    "default-route": _gateways,
}
"""The keys that Multus decodes. `ipam-claim-reference` is another client's: Multus takes any value there."""
_PORT_MAPPING: Mapping[str, Reader] = {
    "hostport": _integer,
    "containerport": _integer,
    "protocol": _string,
    "hostip": _string,
}
_BANDWIDTH: Mapping[str, Reader] = dict.fromkeys(
    ("ingressrate", "ingressburst", "egressrate", "egressburst"), _integer
)
