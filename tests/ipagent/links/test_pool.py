"""How much of a pool is used, and which changes are reported at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipagent.links.pool import PoolReport, PrefixUse, uses, worth_reporting
from tests.ipagent.links.pools import LONE, POOL, V4, V4B, V6

pytestmark = pytest.mark.pure


def test_a_single_address_is_one_that_is_free_or_used() -> None:
    pool = replace(POOL, active=LONE[:3], known=LONE)
    found = PoolReport("f", "", uses(pool, ["10.10.1.8", "lock"], offered=True))
    assert [each.used for each in found.uses] == [0, 1, 0, 0]
    assert found.free == 2


@pytest.mark.parametrize(
    ("before", "now", "worth"),
    [
        (PoolReport("f", "", (PrefixUse(V4, 2, True), PrefixUse(V4B, 1, True))),) * 2 + (False,),
        (
            PoolReport("f", "", (PrefixUse(V6, 2, True),)),
            PoolReport("f", "m", (PrefixUse(V6, 2, True),)),
            True,
        ),
        (
            PoolReport("f", "", (PrefixUse(V4, 2, True), PrefixUse(V4B, 1, True))),
            PoolReport("f", "", (PrefixUse(V4, 2, True), PrefixUse(V4B, 0, True))),
            True,
        ),
        (
            PoolReport("f", "", (PrefixUse(V4, 2, True), PrefixUse(V4B, 1, True))),
            PoolReport("f", "", (PrefixUse(V4, 3, True), PrefixUse(V4B, 1, True))),
            False,
        ),
        (
            PoolReport("f", "", (PrefixUse(V4, 2, True),)),
            PoolReport("f", "", (PrefixUse(V4, 3, True),)),
            True,
        ),
    ],
)
def test_what_changes_a_decision_is_reported_at_once(
    before: PoolReport, now: PoolReport, worth: bool
) -> None:
    assert worth_reporting(before, now) is worth
