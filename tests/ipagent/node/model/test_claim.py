"""What a container is told can't contradict itself."""

from __future__ import annotations

import pytest

from common.exit_codes import ExitCode
from ipagent import node_protocol
from ipagent.node.model.claim import AddressState, ClaimState, ClaimStatus

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (ClaimState.ASSIGNED, ExitCode.DEADLINE),
        (ClaimState.PENDING, ExitCode.OK),
        (ClaimState.FAILED, ExitCode.OK),
    ],
)
def test_exit_code_0_needs_every_address_assigned(state: ClaimState, code: ExitCode) -> None:
    with pytest.raises(ValueError, match="contradict"):
        ClaimStatus(state, code, "")


def test_the_slim_client_knows_every_word_that_it_is_told() -> None:
    assert {*ClaimState} == {node_protocol.PENDING, node_protocol.ASSIGNED, node_protocol.FAILED}
    assert {*AddressState} == {
        node_protocol.PENDING,
        node_protocol.ASSIGNED,
        node_protocol.FAILED,
        node_protocol.CONFLICT,
    }
