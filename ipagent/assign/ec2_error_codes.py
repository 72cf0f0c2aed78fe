"""EC2's error codes, and what kind of failure each one stands for.

Codes are those of "Error codes for the Amazon EC2 API" in the EC2 API reference. `InvalidParameterValue`
stands for many things there; only its message tells which.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Fault(Enum):
    """Kinds of failure of a call to EC2."""

    THROTTLED = auto()
    TRANSIENT = auto()
    UNREACHABLE = auto()
    NO_PERMISSION = auto()
    NO_CREDENTIALS = auto()
    NO_ENI = auto()
    ENI_FULL = auto()
    SUBNET_FULL = auto()
    HELD_ELSEWHERE = auto()
    REFUSED = auto()
    """EC2 does not accept an address."""
    IN_PREFIX = auto()
    """It lies in a prefix that is delegated to another ENI; EC2 never moves single addresses of one."""
    CONTENDED = auto()
    """Another ENI got the address between the look at who holds it and the call."""
    NOT_HELD = auto()
    """To be unassigned from an ENI that does not have it."""
    FOREIGN_ENI = auto()
    """The ENI belongs to an AWS service or to another account, whatever rights the identity has."""
    UNKNOWN = auto()
    """Anything else; permanent, so that nothing is retried for ever."""


@dataclass(frozen=True)
class Failure:
    """Why a call failed: the kind, and a sentence with the operation, EC2's code and message.

    `final`: it was looked up who holds the address; no further look changes it.
    """

    fault: Fault
    text: str
    final: bool = False


RETRIED = frozenset({Fault.THROTTLED, Fault.TRANSIENT, Fault.UNREACHABLE, Fault.CONTENDED})
"""Trying again may help within seconds."""

HEALING = RETRIED | {Fault.NO_PERMISSION, Fault.NO_CREDENTIALS, Fault.ENI_FULL, Fault.SUBNET_FULL}
"""Trying again may help within the life of a pod."""

BY_ADDRESS = frozenset(
    {
        Fault.ENI_FULL,
        Fault.SUBNET_FULL,
        Fault.HELD_ELSEWHERE,
        Fault.IN_PREFIX,
        Fault.REFUSED,
        Fault.NOT_HELD,
    }
)
"""A part of the addresses may be the cause: without them the rest succeeds."""

_CODES = {
    "PrivateIpAddressLimitExceeded": Fault.ENI_FULL,
    "InsufficientFreeAddressesInSubnet": Fault.SUBNET_FULL,
    "InvalidIPAddress.InUse": Fault.HELD_ELSEWHERE,
    "InvalidNetworkInterfaceID.NotFound": Fault.NO_ENI,
    "InvalidNetworkInterfaceId.Malformed": Fault.NO_ENI,
    **dict.fromkeys(("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"), Fault.NO_PERMISSION),
    **dict.fromkeys(
        (
            "AuthFailure",
            "Blocked",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "OptInRequired",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        Fault.NO_CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ),
        Fault.THROTTLED,
    ),
    **dict.fromkeys(
        (
            "IncorrectState",
            "InternalError",
            "InternalFailure",
            "RequestTimeout",
            "ServiceUnavailable",
            "Unavailable",
        ),
        Fault.TRANSIENT,
    ),
}

# Sentences of InvalidParameterValue, as public issue trackers and the VPC CNI's source quote them; the one of
# UnassignIpv6Addresses: F5Networks/f5-cloud-failover-extension#75.
_MESSAGES = (
    ("move is not allowed", Fault.HELD_ELSEWHERE),
    ("already in use", Fault.HELD_ELSEWHERE),
    ("not assigned to interface", Fault.NOT_HELD),
    ("not mapped to interface", Fault.NOT_HELD),
)

_NOT_YOURS = "do not have permission to access the specified resource"
"""With AuthFailure: credentials are fine, and the ENI is a service's or another account's."""


def classify(code: str, message: str, status: int) -> Fault:
    """Return the kind of an error answer by EC2's code, its message and the HTTP status."""
    if code == "InvalidParameterValue":
        return next((fault for part, fault in _MESSAGES if part in message), Fault.REFUSED)
    if code == "AuthFailure" and _NOT_YOURS in message:
        return Fault.FOREIGN_ENI
    if code in _CODES:
        return _CODES[code]
    if code.endswith("AddressLimitExceeded"):
        return Fault.ENI_FULL
    if status == 429:
        return Fault.THROTTLED
    return Fault.TRANSIENT if status >= 500 else Fault.UNKNOWN
