"""How much of a pool is used, and which changes are reported at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipagent.links.pool import PoolStatus, Use, uses, worth_reporting
from tests.ipagent.links.pools import LONE, POOL, V4, V6, V4B

pytestmark = pytest.mark.pure


def test_a_single_address_is_one_that_is_free_or_used() -> None:
    pool = replace(POOL, active=LONE[:3], known=LONE)
    found = PoolStatus("f", "", uses(pool, ["10.10.1.8", "lock"], offered=True))
    assert [each.used for each in found.uses] == [0, 1, 0, 0]
    assert found.free == 2


@pytest.mark.parametrize(
    ("before", "now", "worth"),
    [
        (PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 1, True))),) * 2 + (False,),
        (PoolStatus("f", "", (Use(V6, 2, True),)), PoolStatus("f", "m", (Use(V6, 2, True),)), True),
        (
            PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 1, True))),
            PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 0, True))),
            True,
        ),
        (
            PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 1, True))),
            PoolStatus("f", "", (Use(V4, 3, True), Use(V4B, 1, True))),
            False,
        ),
        (PoolStatus("f", "", (Use(V4, 2, True),)), PoolStatus("f", "", (Use(V4, 3, True),)), True),
    ],
)
def test_what_changes_a_decision_is_reported_at_once(
    before: PoolStatus, now: PoolStatus, worth: bool
) -> None:
    assert worth_reporting(before, now) is worth
