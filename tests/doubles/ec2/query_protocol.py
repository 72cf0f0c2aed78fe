"""The EC2 Query protocol: form-encoded parameters in, XML out ("Making API requests", EC2 developer guide).

Lists are `Name.1`, `Name.2`; filters are `Filter.1.Name` with `Filter.1.Value.1`. An answer is a tree of
dicts (elements), lists (elements with one `item` for each dict or text) and scalars, under EC2's own element
names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from tests.doubles.ec2 import errors
from tests.doubles.ec2.errors import Ec2Error

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
VERSION = "2016-11-15"
MAX_PARAMETERS = 5000
MAX_FILTER_VALUES = 200
"""EC2's own limit, "Filter limits" in the EC2 developer guide."""

Scalar: TypeAlias = str | int | bool
Value: TypeAlias = "Structure | Scalar | Sequence[Structure | str] | None"
Structure: TypeAlias = Mapping[str, Value]

# What XML 1.0 can't carry, even escaped (section 2.2).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Parameters:
    """The parameters of one call, without Action and Version.

    What is not taken by the time of `finish` is unknown to the action. `sent` keeps all of them.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.sent = dict(values)

    def take(self, name: str) -> str | None:
        """Take the text of a parameter; None if it is not there."""
        return self._values.pop(name, None)

    def require(self, name: str) -> str:
        """Take the text of a parameter that must be there."""
        value = self.take(name)
        if not value:
            raise errors.missing_parameter(name)
        return value

    def flag(self, name: str) -> bool:
        """Take a boolean; false if it is not there."""
        value = self.take(name)
        if value not in (None, "true", "false"):
            raise errors.invalid_value(value, name, "Expecting true or false.")
        return value == "true"

    def number(self, name: str) -> int | None:
        """Take a whole number; None if it is not there."""
        value = self.take(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            raise errors.invalid_value(value, name, "Expecting an integer.")
        return int(value)

    def listing(self, name: str) -> tuple[str, ...]:
        """Take `name.1`, `name.2`, …, in the order of the numbers."""
        pattern = re.compile(re.escape(name) + r"\.(\d{1,6})", re.ASCII)
        found = sorted((int(match[1]), key) for key in self._values if (match := pattern.fullmatch(key)))
        return tuple(self._values.pop(key) for _, key in found)

    def parts(self, name: str) -> list[Parameters]:
        """Take `name.N.…` as one set of parameters for each N, in the order of the numbers."""
        pattern = re.compile(re.escape(name) + r"\.(\d{1,6})\.(.+)", re.ASCII)
        found: dict[int, dict[str, str]] = {}
        for key in list(self._values):
            if match := pattern.fullmatch(key):
                found.setdefault(int(match[1]), {})[match[2]] = self._values.pop(key)
        return [Parameters(values) for _, values in sorted(found.items())]

    def filters(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Take `Filter.N.Name` with `Filter.N.Value.M`: pairs of name and values."""
        parts = self.parts("Filter")
        found = tuple((part.require("Name"), part.listing("Value")) for part in parts)
        for part in parts:
            part.finish()
        if sum(len(values) for _, values in found) > MAX_FILTER_VALUES:
            raise errors.too_many_filter_values(MAX_FILTER_VALUES)
        return found

    def finish(self) -> None:
        """Raise `Ec2Error` if a parameter is left that the action did not take."""
        for name in self._values:
            raise errors.unknown_parameter(name)


def decode(query: bytes, body: bytes) -> tuple[str, Parameters]:
    """Read action and parameters from query string and body; raises `Ec2Error` for anything malformed."""
    values: dict[str, str] = {}
    try:
        for part in filter(None, (query, body)):
            for name, value in parse_qsl(
                part.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=MAX_PARAMETERS,
            ):
                if name in values:
                    raise Ec2Error("MalformedQueryString", f"The parameter {name} is there twice.")
                values[name] = value
    except ValueError:
        raise Ec2Error("MalformedQueryString", "The query string contains a syntax error.") from None
    action, version = values.pop("Action", ""), values.pop("Version", "")
    if not action:
        raise Ec2Error("MissingAction", "The request must contain the parameter Action.")
    if not version:
        raise errors.missing_parameter("Version")
    if version != VERSION:
        raise errors.no_such_version(version)
    return action, Parameters(values)


def answer(action: str, structure: Structure, request_id: str) -> bytes:
    """Write the answer to a call that succeeded."""
    root = ET.Element(f"{action}Response", xmlns=NAMESPACE)
    _fill(root, {"requestId": request_id, **structure})
    return _document(root)


def error_answer(error: Ec2Error, request_id: str) -> bytes:
    """Write the answer to a call that was refused."""
    root = ET.Element("Response")
    refusal = ET.SubElement(ET.SubElement(root, "Errors"), "Error")
    _fill(refusal, {"Code": error.code, "Message": error.message})
    _fill(root, {"RequestID": request_id})
    return _document(root)


def _fill(element: ET.Element, structure: Structure) -> None:
    for name, value in structure.items():
        if value is None:
            continue
        child = ET.SubElement(element, name)
        if isinstance(value, Mapping | Scalar):
            _write(child, value)
        else:
            for item in value:
                _write(ET.SubElement(child, "item"), item)


def _write(element: ET.Element, value: Structure | Scalar) -> None:
    if isinstance(value, Mapping):
        _fill(element, value)
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        element.text = _NO_XML.sub("\ufffd", text)


def _document(root: ET.Element) -> bytes:
    written: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written
