"""Verdict: the decision on one address of an ENI, and all that a sweep decides on. Data only.

Thread: the main loop's, through Collector; metrics and `ipagent node status` read the last verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ipagent.assign.addresses import IPAddress
from ipagent.assign.release import Pair
from ipagent.assign.topology import Attached, Unread
from ipagent.node.gc.records import OwnershipRecords
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import Pod, PodKey


class Decision(StrEnum):
    """What is done with an address."""

    KEEP = "keep"
    WAIT = "wait"
    RECLAIM = "reclaim"


class VerdictReason(StrEnum):
    """Why the verdict is as it is: LEAKED to wait or to reclaim, each other one to keep the address."""

    NOT_MANAGED = "not-managed"
    PROTECTED = "protected"
    HELD = "held"
    POOL = "pool"
    BUSY = "busy"
    UNRECORDED = "unrecorded"
    FLOATING = "floating"
    OWNER_LIVES = "owner-lives"
    INCOMPLETE = "incomplete"
    UNREADABLE = "unreadable"
    UNSTATED = "unstated"
    STATIC_POD = "static-pod"
    SUCCESSOR = "successor"
    LEAKED = "leaked"


@dataclass(frozen=True)
class Verdict:
    """The decision on one address, and a sentence that says why.

    `pod` is its last recorded owner. `until`: it waits until then, on the clock of the sweep. `blocker` is
    the living pod for whose sake alone it is kept.
    """

    eni_id: str
    address: IPAddress
    decision: Decision
    why: VerdictReason
    text: str
    pod: PodKey | None = None
    until: float | None = None
    blocker: PodKey | None = None

    @property
    def pair(self) -> Pair:
        """The ENI and the address."""
        return self.eni_id, self.address


@dataclass(frozen=True)
class Candidate:
    """An address that this pod has leaked, in every sweep since then."""

    pod: PodKey
    since: float


@dataclass(frozen=True)
class GcInput:
    """All that a sweep knows.

    `pods` are a complete list, taken before `enis` was asked for. `ownership` is what the watch and the
    sessions tell. `earlier` are the candidates of the sweep before.
    """

    records: OwnershipRecords
    pods: tuple[Pod, ...]
    enis: tuple[Attached, ...]
    ownership: Ownership
    now: float
    earlier: Mapping[Pair, Candidate] = field(default_factory=dict)
    unread: tuple[Unread, ...] = ()
    """ENIs of the node of which nobody knows what they hold: nothing is decided on them."""
    pool: frozenset[Pair] = frozenset()
    """Addresses that the node hands out to pods, and that stay on their ENIs."""


@dataclass(frozen=True)
class GcResult:
    """The outcome: a verdict for each secondary address on our ENIs.

    `candidates` are for the next sweep. `obsolete` are records of addresses that are nobody's any more.
    """

    verdicts: tuple[Verdict, ...] = ()
    candidates: Mapping[Pair, Candidate] = field(default_factory=dict)
    obsolete: frozenset[Pair] = frozenset()

    def of(self, decision: Decision) -> tuple[Verdict, ...]:
        """Return the verdicts of one kind."""
        return tuple(each for each in self.verdicts if each.decision is decision)
