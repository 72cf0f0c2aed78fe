"""EC2's request limits: a token bucket for each API, shared by everyone in the account and region.

Sizes and refill rates are those of "Request throttling for the Amazon EC2 API" in the EC2 developer guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.doubles.ec2 import errors
from tests.doubles.ec2.query_protocol import Parameters


@dataclass(frozen=True)
class Limit:
    """A bucket's size in requests, and how many it gains a second."""

    size: float
    refill: float


DESCRIBE = Limit(100, 20)
DESCRIBE_EVERYTHING = Limit(50, 10)
MUTATE = Limit(50, 5)

LIMITS: Mapping[str, Limit] = {
    "AssignIpv6Addresses": Limit(100, 5),
    "AssignPrivateIpAddresses": Limit(100, 5),
    "CreateNetworkInterface": Limit(100, 5),
    "CreateTags": Limit(100, 10),
    "DeleteNetworkInterface": Limit(100, 5),
    "UnassignPrivateIpAddresses": Limit(100, 5),
}
"""The actions that have limits of their own; others have those of their kind."""

EVERYTHING = frozenset({"DescribeInstances", "DescribeNetworkInterfaces"})
"""The actions that have another bucket when they are neither filtered nor paginated."""


@dataclass(frozen=True)
class Throttling:
    """Which limits are in force. `own` are limits by action in place of EC2's."""

    enabled: bool = False
    own: Mapping[str, Limit] = field(default_factory=dict)

    def limit(self, bucket: str) -> Limit | None:
        """Return the limit of a bucket, None for no limit."""
        action = bucket.removesuffix(ALL)
        if action in self.own:
            return self.own[action]
        if not self.enabled:
            return None
        if bucket != action:
            return DESCRIBE_EVERYTHING
        return LIMITS.get(action, DESCRIBE if action.startswith("Describe") else MUTATE)


ALL = " of everything"


def bucket_of(action: str, parameters: Parameters) -> str:
    """Name the bucket that a call takes from."""
    narrowing = ("Filter.", "MaxResults", "NextToken", "InstanceId.", "NetworkInterfaceId.")
    narrowed = any(name.startswith(narrowing) for name in parameters.sent)
    return action + ALL if action in EVERYTHING and not narrowed else action


@dataclass(frozen=True)
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """The buckets of one account and region."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, throttling: Throttling, bucket: str, now: float) -> None:
        """Take a token; raises `Ec2Error` if there is none."""
        limit = throttling.limit(bucket)
        if limit is None:
            return
        before = self._buckets.get(bucket, _Bucket(limit.size, now))
        tokens = min(limit.size, before.tokens + (now - before.at) * limit.refill)
        self._buckets[bucket] = _Bucket(tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            raise errors.throttled()
