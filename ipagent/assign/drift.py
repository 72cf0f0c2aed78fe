"""Drift detection: finds addresses that are no longer on the ENI they were assigned to, at little cost.

IMDS is asked every half minute or so, EC2 only where IMDS lacks an address, and every quarter of an hour in
any case: IMDS lags behind, so it may show what is gone, too. What EC2 says decides. Nothing here assigns:
what nobody holds is wanted again, and the reconciler does the rest; what another ENI holds is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.retry import NOW, Attempt, Backoff, Timing, remaining
from ipagent.log import Log

METADATA_SECONDS = 30.0
DESCRIBE_SECONDS = 900.0
"""Means: each interval is drawn between its half and one and a half, so that agents don't march in step."""

SILENT_PACE = Backoff(60.0, DESCRIBE_SECONDS)
DOUBT_PACE = Backoff(60.0, DESCRIBE_SECONDS)


class Drift:
    """Watches the addresses of a reconciler that are assigned, or that another ENI has."""

    def __init__(self, reconciler: Reconciler, cloud: Cloud, timing: Timing, log: Log) -> None:
        self._reconciler = reconciler
        self._cloud = cloud
        self._timing = timing
        self._log = log
        self._check_at: float | None = None
        self._describe_at = 0.0
        self._silences = 0
        # When EC2 is to be asked again about an address that IMDS does not show.
        self._doubts: dict[tuple[str, IPAddress], Attempt] = {}
        self._warned = False

    def step(self) -> float | None:
        """Look if it is time to; returns the seconds until it is, None while nothing is assigned.

        0 means that the reconciler has to do something at once.
        """
        kept = [item for item in self._reconciler.plan.items if item.watched]
        now = self._timing.clock()
        if not kept:
            self._check_at = None
            return None
        if self._check_at is None:
            self._check_at = now + self._jittered(METADATA_SECONDS)
            self._describe_at = now + self._jittered(DESCRIBE_SECONDS)
        elif self._check_at <= now and self._check(kept, now):
            return 0.0
        return remaining(self._check_at, self._timing.clock())

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.5 + self._timing.random())

    def _check(self, kept: Sequence[PlannedAddress], now: float) -> bool:
        """Look at all addresses; tells whether any is to be assigned again."""
        # First of all, so that whatever goes wrong below is not repeated at once.
        self._check_at = now + self._jittered(METADATA_SECONDS)
        doubted: Sequence[PlannedAddress] = self._doubted(kept, now)
        if self._describe_at <= now:
            self._describe_at = now + self._jittered(DESCRIBE_SECONDS)
            doubted = kept
        batches: dict[tuple[str, int], list[PlannedAddress]] = {}
        for item in doubted:
            batches.setdefault((item.eni_id, item.address.version), []).append(item)
        lost = [self._ask_ec2(items) for items in batches.values()]
        return any(lost)

    def _doubted(self, kept: Sequence[PlannedAddress], now: float) -> list[PlannedAddress]:
        """Return the addresses that IMDS lacks, where it answers, and about which EC2 is to be asked."""
        # IMDS lists the addresses of a prefix nowhere: of those EC2 alone is asked.
        kept = [item for item in kept if item.prefix is None]
        shown = self._shown(kept)
        doubts: dict[tuple[str, IPAddress], Attempt] = {}
        due_now = []
        for item in kept:
            key = item.eni_id, item.address
            if item.eni_id not in shown:
                if key in self._doubts:
                    doubts[key] = self._doubts[key]
                continue
            if item.phase is Phase.CONFIRMED and item.address in shown[item.eni_id]:
                continue
            doubts[key] = self._doubts.get(key, NOW)
            if doubts[key].at <= now:
                doubts[key] = doubts[key].later(now, DOUBT_PACE, self._timing.random())
                due_now.append(item)
        self._doubts = doubts
        return due_now

    def _shown(self, kept: Iterable[PlannedAddress]) -> dict[str, frozenset[IPAddress]]:
        enis = {item.eni_id: item.placement.eni for item in kept}
        found: dict[str, frozenset[IPAddress]] = {}
        for eni_id, eni in enis.items():
            versions = {item.address.version for item in kept if item.eni_id == eni_id}
            shown = self._cloud.metadata(eni, versions)
            if shown is None:
                # It is silent, and not only about this ENI: no use in waiting for it often.
                delay = SILENT_PACE.delay(self._silences, self._timing.random())
                self._silences += 1
                self._check_at = max(self._check_at or 0.0, self._timing.clock() + delay)
                return found
            found[eni_id] = shown
        self._silences = 0
        return found

    def _ask_ec2(self, items: Sequence[PlannedAddress]) -> bool:
        """Look up who holds addresses of one ENI and family; tells whether any is to be assigned again."""
        if (failure := self._reconciler.ask_holders(items)) is not None:
            self._warn_of_blindness(failure)
            return False
        eni_id, addresses = items[0].eni_id, [item.address for item in items]
        wanted = self._reconciler.plan.in_phases({Phase.WANTED})
        lost = [item.address for item in wanted if item.eni_id == eni_id and item.address in addresses]
        for address in lost:
            text = f"{address} is not on {eni_id}, and no other ENI has it any more: assigning it"
            self._log.warning("lost", message=text, address=str(address), eni=eni_id)
        return bool(lost)

    def _warn_of_blindness(self, failure: Failure) -> None:
        if failure.fault is Fault.NO_PERMISSION and not self._warned:
            self._warned = True
            text = f"Addresses that are taken away can't be noticed: {failure.text}"
            self._log.warning("unwatched", message=text)
