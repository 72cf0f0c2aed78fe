"""For how long the loop waits for the answer to a change."""

from __future__ import annotations

import pytest

from ipagent.call_relay import Action, RelayCall
from ipagent.node.central.standing import GRACE, StandingChanges
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

CALLS = [RelayCall(1, Action.ASSIGN_IPV4, "eni-1", (ip("10.10.1.81"),))]


def test_an_eni_whose_last_change_was_slow_is_not_waited_for_until_one_is_fast() -> None:
    changes = StandingChanges()
    waits = []
    for seconds in (GRACE + 1, 0.5, GRACE + 1, None, 0.5):
        waits.append(changes.patience("n1.oam"))
        changes.add("n1.oam", CALLS, since=100.0)
        changes.end("n1.oam", None if seconds is None else 100.0 + seconds)
    assert waits == [GRACE, 0.0, GRACE, 0.0, 0.0]
    assert changes.patience("n1.sig") == GRACE
    changes.add("n1.oam", CALLS, since=200.0)
    changes.prune({"n1.sig"})
    assert (changes.of("n1.oam"), changes.patience("n1.oam")) == (None, GRACE)
