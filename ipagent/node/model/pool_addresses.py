"""Secondary addresses that the node hands out to pods of networks of prefixes: they stay on their ENIs.

The controller assigns them where a subnet has no whole prefix left, and records them in the NodeAttachment as
prefixes of one address.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.release import Pair
from ipagent.assign.topology import Eni


@dataclass(frozen=True, slots=True)
class PoolAddresses:
    """Those of all ENIs of the node, by ENI id and by MAC."""

    pairs: frozenset[Pair] = frozenset()
    by_mac: Mapping[str, frozenset[IPAddress]] = field(default_factory=dict)


NO_POOL = PoolAddresses()


def with_pool(
    enis: Mapping[str, Eni],
    pool: PoolAddresses,
    shown: Callable[[Eni, Collection[int]], Collection[IPAddress] | None],
) -> dict[str, Eni]:
    """Return ENIs, by MAC, with the pool's addresses that IMDS shows on them as prefixes of one address."""
    return {mac: _with(eni, pool.by_mac.get(mac, ()), shown) for mac, eni in enis.items()}


def _with(
    eni: Eni,
    addresses: Iterable[IPAddress],
    shown: Callable[[Eni, Collection[int]], Collection[IPAddress] | None],
) -> Eni:
    versions = {each.version for each in addresses}
    if not versions:
        return eni
    here = shown(eni, versions) or ()
    lone: list[IPNetwork] = [ip_network(each) for each in addresses if each in here]
    return replace(eni, prefixes=(*eni.prefixes, *lone))
