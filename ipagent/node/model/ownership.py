"""What the core tells the sweep: who holds what, and what it can't know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ipagent.assign.selection import IPAddress
from ipagent.node.model.pod import PodKey


@dataclass(frozen=True)
class Ownership:
    """Whose the addresses on this node's ENIs are, as far as it is known now.

    `complete`: there was a complete list of the node's pods, and nobody doubts that it is up to date.
    `owners` are living pods by ENI id and address; an address that a session stated is its pod's until the
    pod is gone, however long the session is silent. `floating` are those of them that the pod's own
    network-status does not name. `named` is every address that a living pod names at all,
    also where it is refused. `unstated` are living pods that may hold addresses that they have not stated,
    with the ids of the ENIs on which (none: on any); `stated` are those whose sidecar has said all that it
    holds, over a session that is open. `busy` is what is being assigned or released.
    """

    complete: bool = False
    owners: Mapping[tuple[str, IPAddress], PodKey] = field(default_factory=dict)
    floating: frozenset[tuple[str, IPAddress]] = frozenset()
    named: frozenset[IPAddress] = frozenset()
    unstated: Mapping[PodKey, frozenset[str]] = field(default_factory=dict)
    stated: frozenset[PodKey] = frozenset()
    busy: frozenset[tuple[str, IPAddress]] = frozenset()
