"""What kind of failure each error code is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.ec2_error_codes import (
    BY_ADDRESS,
    CODE_GROUPS,
    HEALING,
    MESSAGE_RULES,
    RETRIED,
    Fault,
    classify,
)

pytestmark = pytest.mark.pure

INVALID = "InvalidParameterValue"


@pytest.mark.parametrize(
    ("code", "message", "status", "fault"),
    [
        (INVALID, "[10.0.1.5] assigned, but move is not allowed.", 400, Fault.HELD_ELSEWHERE),
        (INVALID, "Some of the specified addresses are not assigned to interface eni-1", 400, Fault.NOT_HELD),
        (INVALID, "Address does not fall within the subnet's address range", 400, Fault.REFUSED),
        (INVALID, "The address '2001:db8::1' is not mapped to interface ID 'eni-1'", 400, Fault.NOT_HELD),
        (INVALID, "[2001:db8::1] The specified address is already in use.", 400, Fault.HELD_ELSEWHERE),
        ("InvalidIPAddress.InUse", "", 400, Fault.HELD_ELSEWHERE),
        (INVALID, "Address is in subnet's reserved range", 400, Fault.REFUSED),
        (INVALID, "a sentence that nobody has seen yet", 400, Fault.REFUSED),
        (
            "PrivateIpAddressLimitExceeded",
            "Number of private addresses will exceed limit.",
            400,
            Fault.ENI_FULL,
        ),
        ("Ipv6AddressLimitExceeded", "", 400, Fault.ENI_FULL),
        ("InsufficientFreeAddressesInSubnet", "", 400, Fault.SUBNET_FULL),
        ("InvalidNetworkInterfaceID.NotFound", "", 400, Fault.NO_ENI),
        ("InvalidNetworkInterfaceId.Malformed", "", 400, Fault.NO_ENI),
        ("UnauthorizedOperation", "", 403, Fault.NO_PERMISSION),
        ("AuthFailure", "", 401, Fault.NO_CREDENTIALS),
        (
            "AuthFailure",
            "You do not have permission to access the specified resource.",
            403,
            Fault.FOREIGN_ENI,
        ),
        ("IncorrectState", "The network interface is not in a valid state.", 400, Fault.TRANSIENT),
        ("OperationNotPermitted", "You are not allowed to manage this interface.", 400, Fault.UNKNOWN),
        ("UnsupportedOperation", "The operation is not supported.", 400, Fault.UNKNOWN),
        ("RequestExpired", "", 400, Fault.NO_CREDENTIALS),
        ("RequestLimitExceeded", "", 503, Fault.THROTTLED),
        ("SlowDownPlease", "", 429, Fault.THROTTLED),
        ("InternalError", "", 500, Fault.TRANSIENT),
        ("InvalidInterface.IpAddressLimitExceeded", "", 400, Fault.ENI_FULL),
        ("AddressLimitExceeded", "", 400, Fault.QUOTA),
        ("AttachmentLimitExceeded", "", 400, Fault.QUOTA),
        ("SomethingNewLimitExceeded", "", 400, Fault.QUOTA),
        ("Resource.AlreadyAssigned", "", 400, Fault.HELD_ELSEWHERE),
        ("InvalidParameter", "[10.0.1.5] assigned, but move is not allowed.", 400, Fault.HELD_ELSEWHERE),
        ("IncorrectInstanceState", "", 400, Fault.TRANSIENT),
        ("InvalidAction", "", 400, Fault.BAD_CALL),
        ("SomethingNew", "", 500, Fault.TRANSIENT),
        ("SomethingNew", "", 502, Fault.TRANSIENT),
        ("SomethingNew", "", 400, Fault.UNKNOWN),
        ("", "", 0, Fault.UNKNOWN),
    ],
)
def test_errors_have_a_class(code: str, message: str, status: int, fault: Fault) -> None:
    assert classify(code, message, status) is fault


@pytest.mark.parametrize(
    ("code", "message", "fault"),
    [
        ("Client.InvalidNetworkInterfaceID.NotFound", "", Fault.NO_ENI),
        ("Client.RequestLimitExceeded", "", Fault.THROTTLED),
        ("Server.InternalError", "", Fault.TRANSIENT),
        ("Client.UnauthorizedOperation", "", Fault.NO_PERMISSION),
        ("unauthorizedoperation", "", Fault.NO_PERMISSION),
        ("InvalidNetworkInterfaceId.NotFound", "", Fault.NO_ENI),
        ("InvalidNetworkInterfaceID.Malformed", "", Fault.NO_ENI),
        ("InvalidNetworkInterface.Malformed", "", Fault.NO_ENI),
        ("InvalidSubnetId.Malformed", "", Fault.NO_ENI),
        ("InvalidVpcId.NotFound", "", Fault.NO_ENI),
        ("InvalidPrivateIPAddress.InUse", "", Fault.HELD_ELSEWHERE),
        ("InvalidPrivateIpAddress.InUse", "", Fault.HELD_ELSEWHERE),
        ("Throttling.User", "", Fault.THROTTLED),
        ("IncorrectState.InterfaceBusy", "", Fault.TRANSIENT),
        (f"{INVALID}.Duplicate", "", Fault.REFUSED),
        (f"Client.{INVALID}", "[10.0.1.5] assigned, but Move is not allowed.", Fault.HELD_ELSEWHERE),
        (
            "Client.AuthFailure",
            "you do not have permission to access the specified resource",
            Fault.FOREIGN_ENI,
        ),
        (" PrivateIpAddressLimitExceeded\n", "", Fault.ENI_FULL),
        ("Client.NeverHeardOf", "", Fault.UNKNOWN),
        ("Resource.NeverHeardOf", "", Fault.UNKNOWN),
        ("Client.", "", Fault.UNKNOWN),
    ],
)
def test_another_spelling_of_a_code_or_a_case_of_it_has_its_class(
    code: str, message: str, fault: Fault
) -> None:
    assert classify(code, message, 400) is fault


@given(st.text(), st.text(), st.integers(100, 499).filter(lambda status: status != 429))
def test_what_is_not_known_is_never_retried(code: str, message: str, status: int) -> None:
    if classify(f"Unheard{code}", message, status) in RETRIED:
        pytest.fail("an unknown code below 500 would be retried")


def test_what_is_retried_at_once_is_also_retried_for_life() -> None:
    assert RETRIED < HEALING
    assert not RETRIED & BY_ADDRESS
    assert Fault.REFUSED not in HEALING


def test_each_ec2_error_code_is_in_one_group() -> None:
    listed = [code for group in CODE_GROUPS for code in group.codes]
    assert len(listed) == len(set(listed))
    groups = {code.lower(): group for group in CODE_GROUPS for code in group.codes}
    assert all(groups[code.lower()] is group for group in CODE_GROUPS for code in group.codes)
    assert all(rule.part == rule.part.lower() for rule in MESSAGE_RULES)
