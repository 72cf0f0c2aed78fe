"""When a machine counts as calm."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.settling import busy_for, busy_share, settle

pytestmark = pytest.mark.pure

BEFORE = "cpu  100 0 50 1000 10 0 5 0 70 0\ncpu0 100 0 50 1000 10 0 5 0 70 0\n"


@pytest.mark.parametrize(
    ("now", "share"),
    [
        pytest.param("cpu  100 0 50 1200 10 0 5 0 70 0\n", 0.0, id="nothing but idle"),
        pytest.param("cpu  100 0 50 1100 110 0 5 0 70 0\n", 0.0, id="waiting for a disk is no work"),
        pytest.param("cpu  150 0 100 1100 10 0 5 0 70 0\n", 0.5, id="half of it"),
        pytest.param("cpu  150 20 90 1000 10 0 15 30 70 0\n", 1.0, id="all of it, in every kind"),
        pytest.param("cpu  150 0 50 1050 10 0 5 0 120 0\n", 0.5, id="a guest's time counts once"),
        pytest.param(BEFORE, 1.0, id="no time has gone by"),
    ],
)
def test_share_of_time_that_all_cores_worked(now: str, share: float) -> None:
    assert busy_share(BEFORE, now) == pytest.approx(share)


def test_other_text_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with 'cpu0'"):
        busy_share(BEFORE, "cpu0 1 2 3 4 5 6 7 8 9 0\n")


def test_this_machine_can_be_read_and_patience_ends() -> None:
    stat = Path("/proc/stat").read_text(encoding="ascii")
    assert busy_share(BEFORE, stat) <= 1
    assert settle(patience=0) is False
    assert busy_for(0) <= 1
