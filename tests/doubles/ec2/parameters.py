"""What the parameters of several actions have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias, TypeVar

from tests.doubles.ec2 import errors
from tests.doubles.ec2.query_protocol import Parameters, Structure
from tests.doubles.state.model import World

Outcome: TypeAlias = tuple[World, Structure]

Family = TypeVar("Family", IPv4Address, IPv6Address)
Block = TypeVar("Block", IPv4Network, IPv6Network)


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


def read_tag_specification(parameters: Parameters, kind: str) -> dict[str, str]:
    """Take `TagSpecification.N` with the tags of a new resource of this kind."""
    tags: dict[str, str] = {}
    for part in parameters.parts("TagSpecification"):
        if part.require("ResourceType") != kind:
            raise errors.wrong_tag(f"The resource type of the tags must be {kind}.")
        tags |= read_tags(part)
        part.finish()
    return tags


def read_ipv4_prefixes(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Read /28 blocks, each once; raises `Ec2Error` for the first that is none."""
    return tuple(dict.fromkeys(_read_block(text, IPv4Network, 28) for text in texts))


def read_ipv6_prefixes(texts: Iterable[str]) -> tuple[IPv6Network, ...]:
    """Read /80 blocks, each once; raises `Ec2Error` for the first that is none."""
    return tuple(dict.fromkeys(_read_block(text, IPv6Network, 80) for text in texts))


def _read_block(text: str, family: Callable[[str], Block], length: int) -> Block:
    with suppress(ValueError):
        block = family(text)
        if block.prefixlen == length:
            return block
    raise errors.malformed_prefix(text, length)


def require_one(given: Mapping[str, object]) -> None:
    """Raise `Ec2Error` unless exactly one of these parameters is there (true)."""
    if not any(given.values()):
        raise errors.missing_parameter(" or ".join(given))
    refuse_several(given)


def refuse_several(given: Mapping[str, object]) -> None:
    """Raise `Ec2Error` for more than one of these parameters."""
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise errors.excluding_parameters(names[0], names[1])


def refuse_dry_run(dry_run: bool) -> None:
    """Raise `Ec2Error` in place of the effect of a call that would have succeeded."""
    if dry_run:
        raise errors.dry_run()
