"""Address engine: reconciler, drift detection and releases of one owner, and the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from common.token_bucket import Rate
from ipagent.assign.cloud import Cloud
from ipagent.assign.drift import Drift
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.release import ReleaseOutcome, ReleaseQueue
from ipagent.assign.retry import Timing
from ipagent.log import Log


class AddressEngine:
    """Releases, reconciler and drift detection of one pod or one node, in steps that never wait.

    `on_released` is called with the outcome of each release; `release_rate` bounds the calls for each ENI.
    """

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        reconciler: Reconciler,
        cloud: Cloud,
        timing: Timing,
        log: Log,
        on_released: Callable[[ReleaseOutcome], None] = lambda _: None,
        *,
        release_rate: Rate | None = None,
    ) -> None:
        self.reconciler = reconciler
        self.releases = ReleaseQueue(cloud, timing, log, self._released, rate=release_rate)
        self._on_released = on_released
        self._drift = Drift(reconciler, cloud, timing, log)

    def _released(self, outcome: ReleaseOutcome) -> None:
        self._on_released(outcome)
        self.reconciler.record_release(outcome)

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""
        # In this order: what is released makes room for what is new, and what is assigned is watched.
        delays = [self.releases.step(), self.reconciler.step(), self._drift.step()]
        return min((delay for delay in delays if delay is not None), default=None)
