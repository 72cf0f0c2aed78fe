"""Grants: what the operator allows the pods of a namespace beyond the addresses that Multus gave them. Pure.

Thread: read once at the start, and only read after that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.node.model.settings_readers import SettingsError, quote, read_cidrs

OTHERS = "*"
"""The key of the grant for every namespace that has none of its own."""
MAX_NAMESPACES = 10_000

# RFC 1123: what a namespace may be called.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Grant:
    """What the pods of a namespace may have."""

    cidrs: tuple[IPNetwork, ...] = ()
    """Beside the addresses of their own network-status they may claim any address in these."""
    takeover: bool = False
    """All that they may have they may also take from another ENI."""
    allowed: tuple[IPNetwork, ...] = ()
    """Outside of these they get no address at all; empty: no limit."""

    def covers(self, address: IPAddress) -> bool:
        """Whether a pod may have the address that Multus has not given it."""
        return any(address in cidr for cidr in self.cidrs)

    def allows(self, address: IPAddress) -> bool:
        """Whether the address may be assigned at all."""
        return not self.allowed or any(address in cidr for cidr in self.allowed)


NOTHING = Grant()


@dataclass(frozen=True)
class Grants:
    """Grants by namespace; OTHERS is the key for all namespaces that are not named.

    `allowed` holds for every namespace: see Grant.
    """

    by_namespace: Mapping[str, Grant] = field(default_factory=lambda: MappingProxyType({}))
    allowed: tuple[IPNetwork, ...] = ()

    def of(self, namespace: str) -> Grant:
        """Return the grant of a namespace: its own replaces the one for others, nothing is added up."""
        found = self.by_namespace.get(namespace) or self.by_namespace.get(OTHERS) or NOTHING
        return replace(found, allowed=self.allowed) if self.allowed else found


def read_grants(value: object, key: str = "grants") -> Grants:
    """Read `namespace: {cidrs: [CIDR, ...], takeover: true|false}`; None is no grant at all.

    `key` is where the value stands in its document. Raises SettingsError that names the key.
    """
    if value is None:
        return Grants()
    if not isinstance(value, dict):
        raise SettingsError(f"{key}: is not a mapping from namespaces to grants")
    if len(value) > MAX_NAMESPACES:
        raise SettingsError(f"{key}: more than {MAX_NAMESPACES} namespaces")
    return Grants(MappingProxyType(dict(_entry(name, grant, key) for name, grant in value.items())))


def _entry(name: object, value: object, key: str) -> tuple[str, Grant]:
    if not isinstance(name, str) or (name != OTHERS and not _NAMESPACE.fullmatch(name)):
        raise SettingsError(f'{key}: {quote(name)} is neither the name of a namespace nor "{OTHERS}"')
    return name, _grant(value, f"{key}.{name}")


def _grant(value: object, key: str) -> Grant:
    if not isinstance(value, dict):
        raise SettingsError(f"{key}: is not a mapping with `cidrs` and `takeover`")
    for name in value:
        if name not in ("cidrs", "takeover"):
            raise SettingsError(f"{key}: {quote(name)} is neither `cidrs` nor `takeover`")
    takeover = value.get("takeover", False)
    if not isinstance(takeover, bool):
        raise SettingsError(f"{key}.takeover: {quote(takeover)} is neither true nor false")
    return Grant(read_cidrs(value.get("cidrs", []), f"{key}.cidrs"), takeover)
