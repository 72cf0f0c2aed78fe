"""What a container is told can't contradict itself."""

from __future__ import annotations

import pytest

from multus_eni.contract import ExitCode
from multus_eni.ipagent.node.claims import Phase, Standing, State
from multus_eni.ipagent.slim import wire

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
    assert {*State} == {wire.PENDING, wire.ASSIGNED, wire.FAILED}
    assert {*Phase} == {wire.PENDING, wire.ASSIGNED, wire.FAILED, wire.CONFLICT}
