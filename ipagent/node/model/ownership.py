"""Which pod owns which address of the node.

Thread: data of the main loop's; nothing here is shared with another thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ipagent.assign.addresses import IPAddress
from ipagent.node.model.pod import PodKey


@dataclass(frozen=True)
class Ownership:
    """Who holds the addresses on this node's ENIs, and which pods may hold more than is known."""

    complete: bool = False
    """There was a complete list of the node's pods, and the watch is up to date."""
    owners: Mapping[tuple[str, IPAddress], PodKey] = field(default_factory=dict)
    """The living pod of each ENI id and address; a claimed address stays its pod's until the pod is gone."""
    floating: frozenset[tuple[str, IPAddress]] = frozenset()
    """Those owned addresses that the pod's own network-status does not name."""
    named: frozenset[IPAddress] = frozenset()
    """Every address that a living pod names at all, also where it is refused."""
    unstated: Mapping[PodKey, frozenset[str]] = field(default_factory=dict)
    """Living pods that may hold addresses they have not claimed: the ids of the ENIs (empty: any ENI)."""
    stated: frozenset[PodKey] = frozenset()
    """Pods whose sidecar has claimed all that it holds, over a session that is open."""
    mirrors: frozenset[PodKey] = frozenset()
    """Mirrors of static pods, whose containers outlive them."""
    busy: frozenset[tuple[str, IPAddress]] = frozenset()
    """What is being assigned or released."""
