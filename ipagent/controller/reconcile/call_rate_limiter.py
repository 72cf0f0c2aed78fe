"""Which calls to EC2 may start now: a token bucket for each action, as EC2 has one for the whole account.

Sizes and refill rates are those of "Request throttling for the Amazon EC2 API" in the EC2 developer guide.
The rate of ModifyNetworkInterfaceAttribute is not in its table; the smaller of the two candidates is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from common.token_bucket import Rate, TokenBucket
from ipagent.controller.model.actions import Call

READ = Rate(100, 20)
RATES: Mapping[str, Rate] = {
    "CreateNetworkInterface": Rate(100, 5),
    "AttachNetworkInterface": Rate(50, 5),
    "ModifyNetworkInterfaceAttribute": Rate(50, 5),
    "DetachNetworkInterface": Rate(50, 5),
    "DeleteNetworkInterface": Rate(100, 5),
    "AssignPrivateIpAddresses": Rate(100, 5),
    "AssignIpv6Addresses": Rate(100, 5),
    "UnassignPrivateIpAddresses": Rate(100, 5),
    "UnassignIpv6Addresses": Rate(50, 5),
    "AssociateAddress": Rate(50, 5),
    "DisassociateAddress": Rate(50, 5),
    "CreateTags": Rate(100, 10),
    "DeleteTags": Rate(50, 5),
    "DescribeAddresses": READ,
    "DescribeNetworkInterfaces": READ,
    "DescribeSubnets": READ,
    "DescribeSecurityGroups": READ,
    "DescribeInstanceTypes": READ,
}
MAX_IN_FLIGHT = 8
"""Calls at once: at 200 ms a call more than the refill of all buckets together."""


class CallRateLimiter:
    """Starts calls in their order, as far as the buckets allow. `now` is monotonic, in seconds."""

    def __init__(self, rates: Mapping[str, Rate] = RATES) -> None:
        self._buckets = {action: TokenBucket(rate) for action, rate in rates.items()}

    def take(
        self, calls: Iterable[Call], busy: Collection[str], now: float
    ) -> tuple[tuple[Call, ...], float]:
        """Return the calls that start now, and when the next one may (infinity if none waits for that).

        Of two calls with one key the first starts.
        """
        started: list[Call] = []
        keys, empty, due = set(busy), set[str](), float("inf")
        for call in calls:
            if call.key in keys:
                continue
            if len(keys) >= MAX_IN_FLIGHT:
                break
            if empty.intersection(call.actions):
                continue
            wait = max((self._buckets[action].wait(now) for action in call.actions), default=0.0)
            if wait > 0:
                # Later calls of the same action must not overtake it.
                empty.update(call.actions)
                due = min(due, now + wait)
                continue
            for action in call.actions:
                self._buckets[action].take(now)
            keys.add(call.key)
            started.append(call)
        return tuple(started), due

    def throttled(self, action: str, now: float) -> None:
        """Empty a bucket: EC2 says that others of the account have used it up."""
        bucket = self._buckets.get(action)
        if bucket is not None:
            bucket.drain(now)
