"""Readers of single settings: a wrong value raises SettingsError with its key and what is allowed. Pure."""

from __future__ import annotations

from ipaddress import ip_network

from common.shorten import SHOWN
from ipagent.assign.addresses import IPNetwork

MAX_CIDRS = 256


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
