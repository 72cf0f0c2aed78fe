"""Readers of single fields. Pure.

Of the settings file: a wrong value raises, and the text names the key and what is allowed. Of Kubernetes
objects (`as_…`): a wrong value counts as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from ipagent.assign.addresses import IPNetwork

MAX_CIDRS = 256
SHOWN = 64
"""Characters of a wrong value that a message shows."""
MAX_TEXT = 253
"""Characters of a name: a DNS subdomain (RFC 1123) has no more."""

Object = Mapping[str, Any]


class SettingsError(ValueError):
    """The settings can't be used; the text names key and value, and what is allowed."""


def read_cidrs(value: object, key: str) -> tuple[IPNetwork, ...]:
    """Read a list of CIDRs; raises SettingsError."""
    if not isinstance(value, list) or len(value) > MAX_CIDRS:
        raise SettingsError(f"{key}: is not a list of at most {MAX_CIDRS} CIDRs")
    return tuple(_cidr(each, f"{key}[{number}]") for number, each in enumerate(value))


def _cidr(value: object, key: str) -> IPNetwork:
    if not isinstance(value, str):
        raise SettingsError(f"{key}: {quote(value)} is not a CIDR such as 10.10.1.192/28")
    try:
        return ip_network(value)
    except ValueError as error:
        raise SettingsError(f"{key}: {quote(value)} is not a CIDR such as 10.10.1.192/28: {error}") from None


def quote(value: object) -> str:
    """Return the value as a message shows it."""
    return repr(value)[:SHOWN]


def as_map(value: object) -> Object:
    """Return an object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a list, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_text(value: object, limit: int = MAX_TEXT) -> str:
    """Return at most `limit` characters of a text that is one line, such as a name; else an empty one."""
    return value[:limit] if isinstance(value, str) and value[:limit].isprintable() else ""
