"""Claim: what a pod's container sends to the node agent, and its status. Data only.

A claim decides nothing by itself: the controller decides which of its addresses the pod has a right to.

Thread: made in the sessions' thread, used in the main loop's; frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from common.agent_settings import Mode, Takeover
from common.exit_codes import ExitCode
from ipagent.assign.addresses import IPAddress, IPNetwork, Snapshot

if TYPE_CHECKING:
    from ipagent.node.model.pod import PodKey


@dataclass(frozen=True, slots=True)
class Claim:
    """Everything that the container in one pod sees and asks for; each one replaces the one before.

    `snapshot` is its network namespace, unfiltered. `interfaces` are those that the webhook named, empty for
    all but the default one. `allowed` are the CIDRs that the webhook allows, empty for all. `again` are
    addresses that went away since the last claim, if only for a moment: one of them that is there now was
    added anew, and may be taken back from another ENI. `leaving`: the container has been told to end, and
    with `release_on_exit` the pod's addresses are to be given back now. `restarted`: a container of this pod
    has had everything assigned before, so that an interface that is missing now has been unplugged since.
    `eip_wait`: it is to wait for the pod's Elastic IPs, too.
    """

    pod: PodKey
    mode: Mode
    snapshot: Snapshot
    interfaces: tuple[str, ...] = ()
    takeover: Takeover = Takeover.ALWAYS
    release_on_exit: bool = False
    allowed: tuple[IPNetwork, ...] = ()
    again: frozenset[IPAddress] = frozenset()
    leaving: bool = False
    restarted: bool = False
    eip_wait: bool = False


class ClaimState(StrEnum):
    """The state of a pod as a whole."""

    PENDING = "pending"
    """More is to come; what stands beside it is what it waits for."""
    ASSIGNED = "assigned"
    """Every address that counts is confirmed; for a claim that is leaving: given back."""
    FAILED = "failed"
    """At least one address can't be assigned, and trying again within seconds would not help."""


class AddressState(StrEnum):
    """The state of one address."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    FAILED = "failed"
    CONFLICT = "conflict"
    """It was taken off the ENI by another while the pod still holds it."""


@dataclass(frozen=True, slots=True)
class AddressStatus:
    """One address of the pod: the id of its ENI, empty if unknown, and a sentence on why it is not there."""

    address: IPAddress
    interface: str
    phase: AddressState
    eni: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class ClaimStatus:
    """What the container is told: it logs `message`, and ends with `code` where `state` is final to it.

    `code` is OK exactly where `state` is ASSIGNED. While it is PENDING, `code` is what the container ends
    with if its time is over now (mostly DEADLINE), and `message` says what it waits for. `message` names
    what happened, to what, and the remedy, as the direct agent's does; `addresses` lists those that count or
    are refused, each once.
    """

    state: ClaimState
    code: ExitCode
    message: str
    addresses: tuple[AddressStatus, ...] = ()

    def __post_init__(self) -> None:
        if (self.code is ExitCode.OK) is not (self.state is ClaimState.ASSIGNED):
            raise ValueError(f"the state {self.state} and the exit code {self.code!r} contradict each other")
