"""State of the calls that node agents ask for, and their answers. Times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ipagent.assign.addresses import IPNetwork
from ipagent.assign.ec2_error_codes import Failure
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import Action, RelayAnswer, RelayAnswers
from ipagent.controller.model.relay_calls import AddressCall, Place, RequestKey

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds of the histograms of seconds until a request is answered."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many requests were answered within each of BUCKETS, and in all; and the seconds of all together."""

    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class HolderAnswer:
    """Which ENIs held an address, asked at this time; `failure` where EC2 did not say."""

    at: float
    enis: tuple[EniDetails, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Throttled:
    """A request whose call EC2 has throttled: it is made again at `due`."""

    due: float
    count: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """A refused assignment whose addresses another ENI holds: it is answered with that ENI."""

    at: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class RelayState:
    """All that a decision about requests rests on, beside what the controller knows of nodes and ENIs."""

    allowed: tuple[IPNetwork, ...] = ()
    """Outside of these no pod gets an address; empty: no limit."""
    seen: Mapping[RequestKey, float] = field(default_factory=dict)
    """Requests, and since when this replica knows them."""
    answers: Mapping[RequestKey, RelayAnswer] = field(default_factory=dict)
    """What was answered to those that are still there."""
    throttled: Mapping[RequestKey, Throttled] = field(default_factory=dict)
    held: Mapping[RequestKey, HeldElsewhere] = field(default_factory=dict)
    lookups: Mapping[Place, HolderAnswer] = field(default_factory=dict)
    taken: Mapping[Place, float] = field(default_factory=dict)
    """Addresses that were taken over after a look, and when first."""
    served: Mapping[str, float] = field(default_factory=dict)
    """By node: when a change was begun for it last."""


@dataclass(frozen=True, slots=True)
class RelayPlan:
    """What follows; `due` is when to decide again at the latest."""

    calls: tuple[AddressCall, ...] = ()
    answers: Mapping[RequestKey, RelayAnswer] = field(default_factory=dict)
    """New ones, which need no call any more."""
    responses: Mapping[str, RelayAnswers] = field(default_factory=dict)
    """By NodeAttachment: what it has to have, and lacks."""
    requested: frozenset[RequestKey] = frozenset()
    waiting: Mapping[RequestKey, Action] = field(default_factory=dict)
    """Requests that had no answer before."""
    due: float = float("inf")
