"""Backoff and log: small parts that the programs share."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backoff import ceiling, full_jitter, half_jitter
from common.log import LEVELS, JsonLog, timestamp

pytestmark = pytest.mark.pure


def test_delays_double_up_to_the_cap() -> None:
    assert [ceiling(0.5, 30.0, attempt) for attempt in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert ceiling(0.5, 30.0, 10**9) == 30.0


@given(attempt=st.integers(0, 100), random=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_its_share(attempt: int, random: float) -> None:
    longest = ceiling(1.0, 60.0, attempt)
    assert longest * 0.1 <= full_jitter(1.0, 60.0, attempt, random) <= longest
    assert longest / 2 <= half_jitter(1.0, 60.0, attempt, random) <= longest


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_780_000_000_007, "2026-05-28T20:26:40.007Z"),
        (1_780_000_000_999, "2026-05-28T20:26:40.999Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(milliseconds: int, text: str) -> None:
    assert timestamp(milliseconds) == text


def test_a_line_is_one_json_object_whatever_its_values_are() -> None:
    stream = io.BytesIO()
    log = JsonLog(stream)
    for number in range(3):
        log.write("info", "made", number=number, text="a\nb", odd={1})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["number"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert (line["level"], line["event"], line["text"], line["odd"]) == ("info", "made", "a\nb", "{1}")


@pytest.mark.parametrize("least", range(len(LEVELS)))
def test_lines_below_the_level_are_left_out(least: int) -> None:
    stream = io.BytesIO()
    log = JsonLog(stream, level=LEVELS[least])
    for level in LEVELS:
        log.write(level, "made")
    written = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert written == list(LEVELS[least:]) == [level for level in LEVELS if log.is_enabled(level)]


def test_what_every_pod_imports_imports_next_to_nothing() -> None:
    script = "import sys, common.backoff, common.keepalive, common.log; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, env={}
    )
    heavy = {
        "argparse",
        "asyncio",
        "dataclasses",
        "datetime",
        "inspect",
        "logging",
        "threading",
        "typing",
    }
    assert not set(done.stdout.split()) & heavy
