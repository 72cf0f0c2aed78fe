"""What the parameters of several actions have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias, TypeVar

from tests.doubles.ec2 import errors
from tests.doubles.ec2.query_protocol import Parameters, Structure
from tests.doubles.state.model import World

Outcome: TypeAlias = tuple[World, Structure]

Family = TypeVar("Family", IPv4Address, IPv6Address)


def read_addresses(texts: Iterable[str], family: Callable[[str], Family]) -> tuple[Family, ...]:
    """Read addresses of a family, each once; raises `Ec2Error` for the first that is none."""
    return tuple(dict.fromkeys(read_address(text, family) for text in texts))


def read_address(text: str, family: Callable[[str], Family]) -> Family:
    """Read an address of a family; raises `Ec2Error` if it is none."""
    if "%" not in text:  # a zone, which Python reads as part of an IPv6 address
        with suppress(ValueError):
            return family(text)
    raise errors.malformed_address(text)


def read_count(parameters: Parameters, name: str) -> int | None:
    """Take a number of addresses to choose; None if it is not there."""
    count = parameters.number(name)
    if count is not None and count < 1:
        lower = name[0].lower() + name[1:]
        raise errors.invalid_value(count, lower, "Expecting a value greater than 0.")
    return count


def read_tags(parameters: Parameters) -> dict[str, str]:
    """Take `Tag.N.Key` with `Tag.N.Value`."""
    tags: dict[str, str] = {}
    for part in parameters.parts("Tag"):
        key = part.require("Key")
        if key in tags:
            raise errors.wrong_tag(f"Duplicate tag key '{key}' specified.")
        tags[key] = part.take("Value") or ""
        part.finish()
    return tags


def refuse_prefixes(parameters: Parameters, name: str) -> None:
    """Raise `Ec2Error` for prefixes to assign: the double has them in world files alone."""
    if parameters.listing(name):
        raise errors.unsupported_parameter(name)
    if parameters.number(f"{name}Count") is not None:
        raise errors.unsupported_parameter(f"{name}Count")


def refuse_dry_run(dry_run: bool) -> None:
    """Raise `Ec2Error` in place of the effect of a call that would have succeeded."""
    if dry_run:
        raise errors.dry_run()
