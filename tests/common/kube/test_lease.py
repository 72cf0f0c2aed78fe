"""Leader election: who may take the Lease, and what a holder does with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from common.kube.client import Answer, Client
from common.kube.errors import ApiError, Unreachable
from common.kube.lease import (
    LeaderElection,
    LeaseTimings,
    ObservedLease,
    may_take,
    read_lease,
    seconds_until_read,
    timings_for,
)
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.pure


def seen(holder: str = "other", at: float = 100.0) -> ObservedLease:
    return ObservedLease(holder, "1", 0, 15.0, at)


@pytest.mark.parametrize(
    ("lease", "now", "expected"),
    [
        (seen(), 114.9, False),
        (seen(), 115.0, True),
        (seen("me"), 100.0, True),
        (seen(""), 100.0, True),
    ],
)
def test_a_lease_is_taken_when_nobody_renews_it(lease: ObservedLease, now: float, expected: bool) -> None:
    assert may_take(lease, "me", now) is expected


def test_a_lease_that_is_not_renewed_keeps_the_time_at_which_it_was_seen() -> None:
    found: dict[str, Any] = {
        "metadata": {"resourceVersion": "1"},
        "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15},
    }
    first = read_lease(found, None, 100.0)
    assert read_lease(found, first, 110.0) == first
    found["metadata"]["resourceVersion"] = "2"
    assert read_lease(found, first, 110.0).at == 110.0


@pytest.mark.parametrize(
    ("lease", "now", "expected"),
    [
        (None, 100.0, 2.0),
        (seen(), 100.0, 2.0),
        (seen(), 113.0, 2.0),
        (seen(), 113.5, 1.5),
        # It has run out, and could not be taken.
        (seen(), 115.0, 2.0),
        (seen(), 120.0, 2.0),
    ],
)
def test_a_lease_is_looked_at_after_a_pause_or_when_it_runs_out(
    lease: ObservedLease | None, now: float, expected: float
) -> None:
    assert seconds_until_read(lease, now, 2.0) == expected


def test_one_that_waits_takes_the_lease_when_it_runs_out_however_long_its_pauses_are() -> None:
    api = FakeApi()
    api.create("", "", {"spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1}})
    waiting = candidate(api, "waiting", timings=LeaseTimings(1000.0, 500.0, 1000.0, 500.0))
    wait_for(lambda: waiting.leading, "the Lease of one that has died")
    waiting.stop()
    waiting.join(10)


def test_the_terms_keep_their_proportions() -> None:
    assert timings_for(15.0) == LeaseTimings() == LeaseTimings(15.0, 10.0, 2.0, 3.75)
    assert timings_for(3.0) == LeaseTimings(3.0, 2.0, 0.4, 0.75)


class FakeApi:
    """One Lease, with optimistic concurrency; `broken` makes it unreachable."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.broken = False
        self.version = 0
        self.reads = 0
        self._lock = threading.Lock()

    def get(self, path: str, what: str) -> Answer:
        with self._lock:
            self.reads += 1
            self._check()
            if self.lease is None:
                raise ApiError(404, "NotFound", path, what)
            return Answer(self._copy(), None)

    def create(self, path: str, what: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            self._check()
            if self.lease is not None:
                raise ApiError(409, "AlreadyExists", path, what)
            return self._store(dict(body["spec"]))

    def merge(self, path: str, what: str, body: dict[str, Any], *, manager: str) -> Answer:
        with self._lock:
            self._check()
            if self.lease is None:
                raise ApiError(404, "NotFound", path, what)
            if body["metadata"]["resourceVersion"] != str(self.version):
                raise ApiError(409, "Conflict", f"{path} {manager}", what)
            return self._store({**self.lease, **body["spec"]})

    def annotate(self) -> None:
        """Change the Lease as somebody else does who is not a candidate."""
        with self._lock:
            self.version += 1

    def delete(self) -> None:
        with self._lock:
            self.lease = None

    def _store(self, spec: dict[str, Any]) -> Answer:
        self.version += 1
        self.lease = {key: value for key, value in spec.items() if value is not None}
        return Answer(self._copy(), None)

    def _copy(self) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": dict(self.lease or {})}

    def _check(self) -> None:
        if self.broken:
            raise Unreachable("no answer")


OFTEN = LeaseTimings(1000.0, 600.0, 0.05, 0.05)
"""Renewed often, and held however long this process stands still."""
BRIEF = LeaseTimings(1.0, 0.6, 0.05, 0.05)


def candidate(
    api: FakeApi,
    name: str,
    on_change: Callable[[], None] = lambda: None,
    timings: LeaseTimings = OFTEN,
    errors: list[Exception] | None = None,
    *,
    started: bool = True,
) -> LeaderElection:
    reported = [] if errors is None else errors
    found = LeaderElection(
        cast(Client, api),
        namespace="system",
        name="lease",
        identity=name,
        on_change=on_change,
        on_error=reported.append,
        timings=timings,
    )
    if started:
        found.start()
    return found


class SlowApi(FakeApi):
    """Each answer to a read takes some seconds, by a clock of its own that stands still otherwise."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def get(self, path: str, what: str) -> Answer:
        found = super().get(path, what)
        self.now += self.seconds
        return found


def test_the_lease_of_another_runs_out_its_duration_after_an_answer_however_long_that_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = SlowApi(6.0)
    monkeypatch.setattr("common.kube.lease.clock", api.clock)
    api.create("", "", {"spec": {"holderIdentity": "other", "leaseDurationSeconds": 15}})
    waiting = candidate(api, "waiting", timings=LeaseTimings(), started=False)
    # The holder may have renewed it just before the answer, at 106, and lead by that until 116.
    for now, leads in ((100.0, False), (115.5, False), (120.9, False), (121.0, True)):
        api.now = now
        waiting._turn()  # noqa: SLF001 - by a clock, and without its thread
        assert waiting.leading is leads


class Suspended:
    """In place of `time`, for a machine that sleeps: only one clock goes on."""

    CLOCK_BOOTTIME = 7

    def __init__(self) -> None:
        self.now = 100.0

    def clock_gettime(self, clock: int) -> float:
        assert clock == self.CLOCK_BOOTTIME
        return self.now

    def monotonic(self) -> float:
        return 100.0


def test_a_leader_that_was_suspended_leads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Suspended()
    monkeypatch.setattr("common.kube.lease.time", machine)
    leader = candidate(FakeApi(), "leader", timings=LeaseTimings(), started=False)
    leader._turn()  # noqa: SLF001 - by a clock, and without its thread
    assert leader.leading
    machine.now += 3600.0
    assert (leader.leading, leader.lost) == (False, True)


def test_one_that_gives_the_lease_back_does_not_lead_any_more_when_others_may() -> None:
    led: list[bool] = []

    class Api(FakeApi):
        def merge(self, path: str, what: str, body: dict[str, Any], *, manager: str) -> Answer:
            if body["spec"]["holderIdentity"] is None:
                led.append(first.leading)
            return super().merge(path, what, body, manager=manager)

    first = candidate(Api(), "first")
    wait_for(lambda: first.leading, "a leader")
    first.stop()
    first.join(10)
    assert led == [False]


def test_one_leads_and_the_other_follows_at_once_when_it_ends() -> None:
    api = FakeApi()
    first = candidate(api, "first")
    wait_for(lambda: first.leading, "a leader")
    second = candidate(api, "second")
    wait_for(lambda: api.version > 3, "renewals")
    assert not second.leading
    first.stop()
    first.join(5)
    assert not first.leading
    wait_for(lambda: second.leading, "the next leader")
    assert (api.lease or {})["leaseTransitions"] == 1
    second.stop()
    second.join(5)
    assert "holderIdentity" not in (api.lease or {})


def test_a_leader_that_can_not_renew_stops_leading_before_another_one_may_begin() -> None:
    api = FakeApi()
    changes: list[float] = []
    first = candidate(api, "first", lambda: changes.append(time.monotonic()), BRIEF)
    wait_for(lambda: first.led, "a leader")
    api.broken = True
    wait_for(lambda: first.lost, "the end of its leading")
    first.join(5)
    assert not first.is_alive()
    assert len(changes) == 2
    api.broken = False
    second = candidate(api, "second")
    wait_for(lambda: second.leading, "the next leader")
    assert not first.leading
    second.stop()
    second.join(5)


def test_a_leader_renews_by_one_request_and_reads_only_what_has_changed() -> None:
    api = FakeApi()
    leader = candidate(api, "a")
    wait_for(lambda: api.version > 5, "renewals")
    assert api.reads == 1
    api.annotate()
    before = api.version
    wait_for(lambda: api.version > before + 3, "renewals of the changed Lease")
    assert leader.leading
    leader.stop()
    leader.join(10)


def test_a_leader_that_has_renewed_pauses_longer_than_those_who_wait() -> None:
    api = FakeApi()
    timings = LeaseTimings(1000.0, 500.0, 0.02, 400.0)
    leader = candidate(api, "leader", timings=timings)
    wait_for(lambda: leader.leading, "a leader")
    waiting = candidate(api, "waiting", timings=timings)
    before = api.reads
    wait_for(lambda: api.reads > before + 10, "looks of the one that waits")
    assert api.version == 1
    for each in (leader, waiting):
        each.stop()
        each.join(10)


def test_a_renewal_that_has_failed_is_tried_again_sooner() -> None:
    api = FakeApi()
    errors: list[Exception] = []
    leader = candidate(api, "leader", timings=LeaseTimings(1000.0, 500.0, 0.01, 0.5), errors=errors)
    wait_for(lambda: leader.leading, "a leader")
    api.broken = True
    # At the pace of renewals that many would take a minute.
    wait_for(lambda: len(errors) > 100, "tries that fail", 30)
    api.broken = False
    before = api.version
    wait_for(lambda: api.version > before, "a renewal")
    assert leader.leading
    leader.stop()
    leader.join(10)


def test_a_lease_that_was_deleted_is_made_anew_by_its_holder() -> None:
    api = FakeApi()
    leader = candidate(api, "a")
    wait_for(lambda: api.version > 1, "a renewal")
    api.delete()
    wait_for(lambda: api.lease is not None, "the Lease")
    assert leader.leading
    leader.stop()
    leader.join(10)


def test_after_a_renewal_that_hung_there_is_another_one_before_it_leads_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By main.py's timeout of a third of `renew`, and the read that tells what the silence means."""
    api = SlowApi(0.0)
    waits: list[float] = []
    monkeypatch.setattr("common.kube.lease.clock", api.clock)
    leader = candidate(api, "leader", timings=LeaseTimings(), started=False)
    merged = api.merge

    def merge(*arguments: Any, **more: Any) -> Answer:
        if len(waits) == 1:
            api.now += 10.0 / 3 + 2.0
            raise Unreachable("timed out")
        leader.stop()
        return merged(*arguments, **more)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        api.now += seconds

    monkeypatch.setattr(api, "merge", merge)
    monkeypatch.setattr(leader._ending, "wait", wait)  # noqa: SLF001
    led: list[bool] = []
    monkeypatch.setattr(leader, "_release", lambda: led.append(True))
    leader.run()
    assert led == [True]
