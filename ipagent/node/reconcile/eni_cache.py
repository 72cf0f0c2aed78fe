"""When the node's ENIs are asked for: for a new MAC, for an address that fits none, and now and then."""

from __future__ import annotations

from ipagent.assign.errors import AgentError
from ipagent.assign.faults import Backoff, Clock, remaining
from ipagent.assign.reconciler import NOW, Cloud
from ipagent.assign.selection import IPAddress
from ipagent.assign.topology import Topology
from ipagent.log import Log

FAILED_PACE = Backoff(1.0, 60.0)
TROUBLED_PACE = Backoff(30.0, 300.0)
"""While addresses fit no ENI: most of them lie on networks that are not the VPC's at all."""
RECHECK_SECONDS = 900.0
"""ENIs and their tags are changed by hand, and EC2 tells nobody."""


class EniCache:
    """Keeps the topology, the newest that could be had; like the reconciler it never waits."""

    def __init__(self, cloud: Cloud, timing: Clock, log: Log) -> None:
        self.topology = Topology(())
        self.error: AgentError | None = None
        """Why the last look has failed."""
        self.sought: frozenset[IPAddress] = frozenset()
        """The addresses that fit no ENI, of those for which it was looked anew."""
        self._cloud = cloud
        self._timing = timing
        self._log = log
        self._known: frozenset[str] = frozenset()
        self._failed = NOW
        self._troubled = NOW
        self._recheck_at = 0.0

    def unknown(self, macs: frozenset[str]) -> frozenset[str]:
        """Give those of the MACs of which it is not known yet whether an ENI of the node has them."""
        return macs - self._known

    def looking(self, address: IPAddress) -> bool:
        """Whether an address that fits no ENI may fit one that has not been looked for yet."""
        return address not in self.sought

    def step(self, macs: frozenset[str], troubled: frozenset[IPAddress]) -> float | None:
        """Look if there is reason to; returns the seconds until there is one, None if there is none.

        `macs` are those of all interfaces with addresses, `troubled` the addresses that fit no ENI.
        """
        now = self._timing.clock()
        self.sought &= troubled
        if not troubled:
            self._troubled = NOW
        at = self._due(macs, troubled)
        if at is None or at > now:
            return None if at is None else remaining(at, now)
        try:
            self.topology = self._cloud.topology(macs, fresh=bool(troubled))
        except AgentError as error:
            self._failed = self._failed.later(now, FAILED_PACE, self._timing.random())
            self._tell(error)
            return remaining(self._failed.at, self._timing.clock())
        now = self._timing.clock()
        self.error, self._failed = None, NOW
        self._known, self.sought = macs, troubled
        self._recheck_at = now + RECHECK_SECONDS * (0.5 + self._timing.random())
        if troubled:
            self._troubled = self._troubled.later(now, TROUBLED_PACE, self._timing.random())
        return remaining(self._due(macs, troubled) or now, now)

    def _due(self, macs: frozenset[str], troubled: frozenset[IPAddress]) -> float | None:
        if not macs and not troubled:
            return None
        if self.unknown(macs) or troubled - self.sought:
            return self._failed.at
        at = min(self._recheck_at, self._troubled.at) if troubled else self._recheck_at
        return max(at, self._failed.at)

    def _tell(self, error: AgentError) -> None:
        # An outage is said once, not at each try.
        level = self._log.debug if self.error else self._log.warning
        level("lookup-failed", message=f"The node's ENIs can't be told: {error}. {error.remedy}")
        self.error = error
