"""What a container is told can't contradict itself."""

from __future__ import annotations

import pytest

from common.contract import ExitCode
from ipagent import nodeprotocol
from ipagent.node.model.claim import Phase, Standing, State

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.ASSIGNED, ExitCode.DEADLINE),
        (State.PENDING, ExitCode.OK),
        (State.FAILED, ExitCode.OK),
    ],
)
def test_only_what_is_assigned_ends_with_0(state: State, code: ExitCode) -> None:
    with pytest.raises(ValueError, match="contradict"):
        Standing(state, code, "")


def test_the_slim_client_knows_every_word_that_it_is_told() -> None:
    assert {*State} == {nodeprotocol.PENDING, nodeprotocol.ASSIGNED, nodeprotocol.FAILED}
    assert {*Phase} == {
        nodeprotocol.PENDING,
        nodeprotocol.ASSIGNED,
        nodeprotocol.FAILED,
        nodeprotocol.CONFLICT,
    }
