"""Cache of the node's ENIs: the only one, since each read is one DescribeNetworkInterfaces.

Read for a MAC that it lacks, for an address that fits no known ENI, and every 15 minutes or so.
Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from common.token_bucket import Rate, TokenBucket
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.errors import AgentError
from ipagent.assign.retry import NOW, Backoff, Timing, remaining
from ipagent.assign.topology import Topology
from ipagent.log import Log
from ipagent.node.model.remedies import of_node_agent

FAILED_PACE = Backoff(1.0, 60.0)
UNPLACED_PACE = Backoff(30.0, 300.0)
"""While addresses fit no ENI: most of them lie on networks that are not the VPC's at all."""
RECHECK_SECONDS = 900.0
"""ENIs and their tags are changed by hand, and EC2 sends no notice."""
LATE_SECONDS = (5.0, 15.0, 60.0)
"""After a read that lacks a MAC it is read again so much later: EC2 may show an ENI late."""
LEAST_WAIT = 0.1
"""A wait that a clock's rounding does not swallow."""
READS = Rate(5, 1 / 10)
"""At most 5 reads at once, then one in 10 s: all nodes of an account share EC2's request limits."""


class EniCache:
    """Keeps the newest topology that could be had; like the reconciler it never waits."""

    def __init__(self, cloud: Cloud, timing: Timing, log: Log) -> None:
        self.topology = Topology(())
        self.error: AgentError | None = None
        """Why the last read has failed, for all ENIs or for some."""
        self.looked_for: frozenset[IPAddress] = frozenset()
        """The addresses that fit no ENI although the ENIs were read since they came."""
        self._cloud = cloud
        self._timing = timing
        self._log = log
        self._asked_macs: frozenset[str] = frozenset()
        # Whether all ENIs were read at once before.
        self._seen_all = False
        # MACs that no ENI has -> the reads that lacked them.
        self._foreign: dict[str, int] = {}
        self._read_at = 0.0
        self._reads = TokenBucket(READS)
        self._after_failure = NOW
        # The next look for what could not be read, and which ENIs that is.
        self._for_unread = NOW
        self._unread: frozenset[str] = frozenset()
        # MACs and addresses that ENIs may have which the last read has not shown, though the node has them.
        self._in_doubt: frozenset[str | IPAddress] = frozenset()
        self._for_unplaced = NOW
        self._recheck_at = 0.0

    def unknown(self, macs: frozenset[str]) -> frozenset[str]:
        """Return those of the MACs of which it is not known yet whether an ENI of the node has them."""
        unknown = macs - self._asked_macs
        return unknown - {eni.mac for eni in self.topology.enis} if unknown else unknown

    def may_appear(self, address: IPAddress) -> bool:
        """Whether an address that fits no ENI may fit one that has not been read yet."""
        return address not in self.looked_for

    def step(
        self,
        macs: frozenset[str],
        unplaced: frozenset[IPAddress],
        attached: frozenset[str] = frozenset(),
    ) -> None:
        """Read the ENIs if there is reason to; arguments as of `due_in`."""
        now = self._timing.clock()
        self.looked_for &= unplaced
        if not unplaced:
            self._for_unplaced = NOW
        at = self._due(macs, unplaced, attached)
        if at is not None and at <= now and self._reads.take(now):
            self._read(macs, unplaced)

    def due_in(
        self,
        macs: frozenset[str],
        unplaced: frozenset[IPAddress],
        attached: frozenset[str] = frozenset(),
    ) -> float | None:
        """Return the seconds until there is reason to read the ENIs; None if there is none.

        `macs` are those of all interfaces that may have addresses, `attached` those of them that Multus has
        made, `unplaced` the addresses that fit no ENI.
        """
        now = self._timing.clock()
        at = self._due(macs, unplaced, attached)
        if at is None or at > now:
            return None if at is None else remaining(at, now)
        wait = self._reads.wait(now)
        return max(LEAST_WAIT, wait) if wait else 0.0

    def _read(self, macs: frozenset[str], unplaced: frozenset[IPAddress]) -> None:
        now = self._timing.clock()
        try:
            found = self._cloud.topology(macs, fresh=True)
        except AgentError as error:
            self._after_failure = self._after_failure.later(now, FAILED_PACE, self._timing.random())
            self._log_failure(error)
            return
        self._after_failure = NOW
        self._seen_all = self._seen_all or not found.unread
        self.topology = self._with_known(found)
        now = self._timing.clock()
        unread = [eni for eni in self.topology.enis if eni.id in self.topology.unread]
        if all(eni.mac for eni in unread):
            self._record_macs(macs, now)
        self.looked_for = frozenset(
            address for address in unplaced if not any(eni.may_hold(address) for eni in unread)
        )
        self._in_doubt = self.unknown(macs) | (unplaced - self.looked_for)
        self._recheck_at = now + RECHECK_SECONDS * (0.5 + self._timing.random())
        if unplaced:
            self._for_unplaced = self._for_unplaced.later(now, UNPLACED_PACE, self._timing.random())
        self._record_unread(found.unread, now)

    def _with_known(self, found: Topology) -> Topology:
        """Return what was read; what is known by an earlier look of ENIs that were not read stays."""
        known = {eni.id: eni for eni in self.topology.enis if eni.id not in self.topology.unread}
        kept = {eni_id: known[eni_id] for eni_id in found.unread if eni_id in known}
        unread = {eni_id: error for eni_id, error in found.unread.items() if eni_id not in kept}
        enis = tuple(kept.get(eni.id, eni) for eni in found.enis)
        return replace(found, enis=enis, unread=unread, seen_all=self._seen_all)

    def _record_macs(self, macs: frozenset[str], now: float) -> None:
        """Record that of each of these MACs it is known which ENI has it, if any."""
        self._asked_macs, self._read_at = macs, now
        foreign = macs - {eni.mac for eni in self.topology.enis}
        self._foreign = {mac: self._foreign.get(mac, 0) + 1 for mac in foreign}

    def _record_unread(self, unread: Mapping[str, AgentError], now: float) -> None:
        """Have the ENIs that could not be read looked for a little later."""
        if not unread:
            self.error, self._for_unread = None, NOW
        else:
            self._for_unread = self._for_unread.later(now, FAILED_PACE, self._timing.random())
            what, known = f"Cannot read {', '.join(sorted(unread))}", unread.keys() <= self._unread
            self._log_failure(next(iter(unread.values())), what, known=known)
        self._unread = frozenset(unread)

    def _due(
        self, macs: frozenset[str], unplaced: frozenset[IPAddress], attached: frozenset[str]
    ) -> float | None:
        if not (macs or unplaced or self._unread):
            return None
        if fresh := self.unknown(macs) | (unplaced - self.looked_for):
            return max(self._after_failure.at, self._for_unread.at if fresh <= self._in_doubt else 0.0)
        at = min(self._recheck_at, self._for_unplaced.at) if unplaced else self._recheck_at
        # What no ENI had that was read may be on one that was not.
        at = 0.0 if self._unread else at
        return max(min(at, self._late_at(attached)), self._after_failure.at, self._for_unread.at)

    def _late_at(self, attached: frozenset[str]) -> float:
        """Return when an interface's MAC that no ENI had is looked for again; infinity if none is."""
        reads = (
            count for mac, count in self._foreign.items() if mac in attached and count <= len(LATE_SECONDS)
        )
        return min((self._read_at + LATE_SECONDS[count - 1] for count in reads), default=float("inf"))

    def _log_failure(
        self, error: AgentError, what: str = "Cannot determine the node's ENIs", *, known: bool = True
    ) -> None:
        # An outage is a warning once, not at each try.
        level = self._log.debug if self.error and known else self._log.warning
        todo = of_node_agent(error).remedy
        level("lookup-failed", message=f"{what}: {error}. {todo}")
        self.error = error
