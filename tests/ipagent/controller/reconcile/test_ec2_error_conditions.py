"""EC2's codes, what they become, and that nothing is asked too often."""

from __future__ import annotations

import pytest

from ipagent.assign.ec2_error_codes import meaning
from ipagent.controller.reconcile.ec2_error_conditions import Kind, classify, remedy, retry_after

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        ("AttachmentLimitExceeded", "", 400, Kind.NO_SLOT),
        ("InvalidParameterValue", "i-1 already has an interface attached at device index '1'.", 400,
         Kind.INDEX_TAKEN),
        ("InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes", 400,
         Kind.NO_BLOCKS),
        ("InvalidParameterValue", "not sufficient free IPv4 addresses in the subnet", 400, Kind.NO_BLOCKS),
        ("InvalidNetworkInterface.InUse", "", 400, Kind.IN_USE),
        ("InvalidParameterCombination", "not in the same availability zone", 400, Kind.OTHER_ZONE),
        ("InvalidParameterCombination", "you must specify a network card index", 400, Kind.OTHER),
        ("NetworkInterfaceLimitExceeded", "", 400, Kind.QUOTA),
        ("InvalidNetworkInterfaceID.NotFound", "", 400, Kind.ENI_GONE),
        ("InvalidInstanceID.NotFound", "", 400, Kind.INSTANCE_GONE),
        ("InvalidAttachmentID.NotFound", "", 400, Kind.ATTACHMENT_GONE),
        ("IncorrectState", "", 400, Kind.STATE),
        ("InsufficientFreeAddressesInSubnet", "", 400, Kind.SUBNET_FULL),
        ("IdempotentParameterMismatch", "", 400, Kind.MISMATCH),
        ("UnauthorizedOperation", "You are not authorized", 403, Kind.NOT_PERMITTED),
        ("RequestLimitExceeded", "", 503, Kind.THROTTLED),
        ("InternalError", "", 500, Kind.TRANSIENT),
        ("ExpiredToken", "", 400, Kind.NO_CREDENTIALS),
        ("Unheard", "", 400, Kind.OTHER),
    ],
)  # fmt: skip
def test_codes(code: str, message: str, status: int, kind: Kind) -> None:
    assert classify(code, message, meaning(code, message, status).fault) is kind


@pytest.mark.parametrize("kind", Kind)
def test_retries_become_rarer(kind: Kind) -> None:
    pauses = [retry_after(kind, count) for count in range(1, 40)]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1] <= 600


def test_a_refusal_that_people_have_to_mend_has_a_remedy() -> None:
    assert "MAX_ENI" in remedy(Kind.NO_SLOT)
    assert "examples/iam/controller.json" in remedy(Kind.NOT_PERMITTED)
    assert not remedy(Kind.THROTTLED)
