"""What a sidecar logs of what it is told: every change once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from common.agent_settings import LogFormat, LogLevel
from ipagent.log import Log
from ipagent.node_protocol import ClaimStatus
from ipagent.nodeclient.status_log import StatusLogger

pytestmark = pytest.mark.pure

A, B = ("10.10.1.80", "net1"), ("10.10.1.81", "net1")
ON, ON_OTHER = ("assigned", "eni-1", ""), ("assigned", "eni-2", "")
NOT, PENDING, CONFLICT = (
    ("failed", "eni-1", "It is full."),
    ("pending", "", ""),
    ("conflict", "eni-1", "Taken."),
)

LoggedAt = Callable[[ClaimStatus], list[str]]


def done(**addresses: tuple[str, str, str]) -> ClaimStatus:
    return ClaimStatus(1, "assigned", 0, "", {{"a": A, "b": B}[key]: said for key, said in addresses.items()})


def failed(message: str = "", code: int = 14, **addresses: tuple[str, str, str]) -> ClaimStatus:
    return ClaimStatus(1, "failed", code, message, done(**addresses).addresses)


def pending(**addresses: tuple[str, str, str]) -> ClaimStatus:
    return ClaimStatus(1, "pending", 17, "", done(**addresses).addresses)


@pytest.fixture
def logged() -> LoggedAt:
    stream = io.StringIO()
    logger = StatusLogger(Log("apps", "pod-1", LogLevel.INFO, LogFormat.JSON, stream=stream))
    logger.set_baseline(done(a=ON))

    def run(standing: ClaimStatus) -> list[str]:
        stream.seek(0)
        stream.truncate()
        logger.log_changes(standing)
        lines = map(json.loads, stream.getvalue().splitlines())
        return [f"{line['event']} {line.get('address', line['message'])}" for line in lines]

    return run


def test_statuses_of_the_start_are_not_logged_again(logged: LoggedAt) -> None:
    assert logged(done(a=ON)) == []


def test_an_address_that_comes_and_goes(logged: LoggedAt) -> None:
    assert logged(pending(a=ON, b=PENDING)) == []
    assert logged(done(a=ON, b=ON)) == ["assigned 10.10.1.81"]
    assert logged(done(a=ON, b=ON)) == []
    assert logged(done(a=ON)) == ["removed 10.10.1.81"]
    assert logged(done(a=ON)) == []


def test_an_address_that_moves_to_another_eni(logged: LoggedAt) -> None:
    assert logged(done(a=ON_OTHER)) == ["assigned 10.10.1.80"]


def test_failures_and_conflicts_are_logged_once_and_so_is_their_end(logged: LoggedAt) -> None:
    assert logged(failed(a=CONFLICT, b=NOT)) == ["conflict 10.10.1.80", "not-assigned 10.10.1.81"]
    assert logged(failed("another sentence", a=CONFLICT, b=NOT)) == []
    assert logged(done(a=ON, b=ON)) == ["assigned 10.10.1.80", "assigned 10.10.1.81"]


def test_a_restarted_node_agent_logs_no_removals(logged: LoggedAt) -> None:
    assert logged(pending()) == []
    assert logged(pending(a=PENDING)) == []
    assert logged(done(a=ON)) == []


def test_a_failure_of_the_whole_pod_is_logged_once(logged: LoggedAt) -> None:
    assert logged(failed("No.", 20)) == ["refused No."]
    assert logged(failed("No.", 20)) == []
    assert logged(failed("No interface net2.", 13)) == ["not-assigned No interface net2."]
    assert logged(done(a=ON)) == []
    assert logged(failed("No.", 20)) == ["refused No."]


def test_a_status_without_addresses_logs_no_removals(logged: LoggedAt) -> None:
    assert logged(ClaimStatus(1, "assigned", 0, "", None)) == []
    assert logged(ClaimStatus(1, "failed", 14, "Full.", None)) == ["not-assigned Full."]
