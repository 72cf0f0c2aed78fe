"""EC2's refusals as conditions of a NodeAttachment: reason, remedy, and when to try again.

Codes are those of "Error codes for the Amazon EC2 API" in the EC2 API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.backoff import ceiling
from ipagent.assign.ec2_error_codes import Fault
from ipagent.controller.model.condition import Condition, no, unknown
from ipagent.controller.model.ec2_snapshot import Refusal


class Kind(StrEnum):
    """Kinds of refusal; the value is the condition's reason."""

    THROTTLED = "Throttled"
    TRANSIENT = "Ec2Failed"
    UNREACHABLE = "Ec2Unreachable"
    NOT_PERMITTED = "NotPermitted"
    NO_CREDENTIALS = "NoCredentials"
    NO_SLOT = "NoSlot"
    INDEX_TAKEN = "IndexTaken"
    IN_USE = "InterfaceInUse"
    ENI_GONE = "InterfaceNotFound"
    INSTANCE_GONE = "InstanceNotFound"
    ATTACHMENT_GONE = "AttachmentNotFound"
    STATE = "WrongState"
    SUBNET_FULL = "SubnetFull"
    QUOTA = "InterfaceQuota"
    OTHER_ZONE = "OtherZone"
    MISMATCH = "OtherParameters"
    NO_BLOCKS = "SubnetFragmented"
    ENI_FULL = "InterfaceFull"
    UNSUPPORTED = "NotSupported"
    NO_GATEWAY = "NoInternetGateway"
    BORDER_GROUP = "OtherBorderGroup"
    ASSOCIATED = "AlreadyAssociated"
    EIP_GONE = "AllocationNotFound"
    ASSOCIATION_GONE = "AssociationNotFound"
    NO_SUCH_ADDRESS = "AddressNotOnInterface"
    PODS_UNKNOWN = "PodsNotListed"
    OTHER = "Refused"


@dataclass(frozen=True, slots=True)
class _Row:
    base: float
    """Seconds until the first retry; they double up to `cap`."""
    cap: float
    remedy: str = ""


_ROWS = {
    Kind.THROTTLED: _Row(1, 60),
    Kind.TRANSIENT: _Row(0.5, 30),
    Kind.UNREACHABLE: _Row(1, 30, "let the controller's pods reach EC2: a route, a VPC endpoint, or a proxy"),
    Kind.NOT_PERMITTED: _Row(
        30, 300, "give the controller's role the statements of examples/iam/controller.json"
    ),
    Kind.NO_CREDENTIALS: _Row(
        30,
        300,
        "give the controller's ServiceAccount a role: controller.serviceAccount.annotations, or Pod Identity",
    ),
    Kind.NO_SLOT: _Row(
        15,
        120,
        "free an interface of the instance (the VPC CNI's: set its MAX_ENI lower), or use a larger type",
    ),
    Kind.INDEX_TAKEN: _Row(0.1, 10),
    Kind.IN_USE: _Row(0.5, 10),
    Kind.ENI_GONE: _Row(1, 10),
    Kind.INSTANCE_GONE: _Row(
        5, 60, "delete the Node if its instance has been terminated; a new instance is shown within a minute"
    ),
    Kind.ATTACHMENT_GONE: _Row(0.5, 10),
    Kind.STATE: _Row(1, 30),
    Kind.SUBNET_FULL: _Row(
        30, 300, "free addresses of the subnet, or choose another one in subnetSelectorTerms"
    ),
    Kind.QUOTA: _Row(60, 600, "ask AWS for more network interfaces of the region (Service Quotas)"),
    Kind.OTHER_ZONE: _Row(
        60, 600, "the ENI and the instance have to be in one zone: see the node's topology.kubernetes.io/zone"
    ),
    Kind.MISMATCH: _Row(20, 60),
    Kind.NO_BLOCKS: _Row(
        30,
        300,
        "keep a part of the subnet free for prefixes (aws ec2 create-subnet-cidr-reservation "
        "--reservation-type prefix), or choose another subnet",
    ),
    Kind.ENI_FULL: _Row(30, 300, "free addresses of the interface, or use a larger instance type"),
    Kind.UNSUPPORTED: _Row(
        60, 600, "use another instance type: prefixes, for example, need one that is built on Nitro"
    ),
    Kind.NO_GATEWAY: _Row(
        30, 300, "attach an internet gateway to the VPC, and route the subnet's traffic through it"
    ),
    Kind.BORDER_GROUP: _Row(
        60, 600, "use an Elastic IP that was allocated in the network border group of the node's zone"
    ),
    Kind.ASSOCIATED: _Row(5, 60, "disassociate it, or the Elastic IP that the address has, in EC2"),
    Kind.EIP_GONE: _Row(5, 60),
    Kind.ASSOCIATION_GONE: _Row(0.5, 10),
    Kind.NO_SUCH_ADDRESS: _Row(1, 30),
    Kind.PODS_UNKNOWN: _Row(0.5, 30),
    Kind.OTHER: _Row(30, 300),
}

_CODES = {
    "AttachmentLimitExceeded": Kind.NO_SLOT,
    "InvalidNetworkInterface.InUse": Kind.IN_USE,
    "InvalidNetworkInterfaceID.NotFound": Kind.ENI_GONE,
    "InvalidInstanceID.NotFound": Kind.INSTANCE_GONE,
    "InvalidAttachmentID.NotFound": Kind.ATTACHMENT_GONE,
    "IncorrectState": Kind.STATE,
    "IncorrectInstanceState": Kind.STATE,
    "InsufficientFreeAddressesInSubnet": Kind.SUBNET_FULL,
    "NetworkInterfaceLimitExceeded": Kind.QUOTA,
    "IdempotentParameterMismatch": Kind.MISMATCH,
    "InsufficientCidrBlocks": Kind.NO_BLOCKS,
    "PrivateIpAddressLimitExceeded": Kind.ENI_FULL,
    "InvalidInterface.IpAddressLimitExceeded": Kind.ENI_FULL,
    "UnsupportedOperation": Kind.UNSUPPORTED,
    "Gateway.NotAttached": Kind.NO_GATEWAY,
    "Resource.AlreadyAssociated": Kind.ASSOCIATED,
    "InvalidAllocationID.NotFound": Kind.EIP_GONE,
    "InvalidAssociationID.NotFound": Kind.ASSOCIATION_GONE,
}

_FAULTS = {
    Fault.THROTTLED: Kind.THROTTLED,
    Fault.TRANSIENT: Kind.TRANSIENT,
    Fault.UNREACHABLE: Kind.UNREACHABLE,
    Fault.NO_PERMISSION: Kind.NOT_PERMITTED,
    Fault.NO_CREDENTIALS: Kind.NO_CREDENTIALS,
}

_INDEX = "already has an interface attached at device index"
"""With InvalidParameterValue: the VPC CNI took the index between the look and the call."""

_FEW = "sufficient free ipv4 addresses"
"""With InvalidParameterValue: the subnet has fewer addresses than a prefix (cilium/cilium#31016)."""


_BY_MESSAGE = {
    "InvalidParameterValue": (
        (_INDEX, Kind.INDEX_TAKEN),
        (_FEW, Kind.NO_BLOCKS),
        ("in use", Kind.IN_USE),
        ("border group", Kind.BORDER_GROUP),
        ("private ip address", Kind.NO_SUCH_ADDRESS),
    ),
    # Also said of network cards, and of an attribute too many.
    "InvalidParameterCombination": (("availability zone", Kind.OTHER_ZONE),),
}
"""By code: parts of its messages, in small letters, since EC2 writes Ipv4 and IPv4."""


_PASSING = frozenset(
    {
        Kind.THROTTLED,
        Kind.TRANSIENT,
        Kind.UNREACHABLE,
        Kind.INDEX_TAKEN,
        Kind.MISMATCH,
        Kind.PODS_UNKNOWN,
    }
)


def classify(code: str, message: str, fault: Fault) -> Kind:
    """Return the kind of a refusal by EC2's code and message, and by its fault where they say no more."""
    if code in _CODES:
        return _CODES[code]
    parts = _BY_MESSAGE.get(code, ())
    found = next((kind for part, kind in parts if part in message.lower()), None)
    return found if found is not None else _FAULTS.get(fault, Kind.OTHER)


def retry_after(kind: Kind, count: int) -> float:
    """Return the seconds until the call is repeated after so many failures in a row."""
    row = _ROWS[kind]
    return ceiling(row.base, row.cap, count - 1)


def remedy(kind: Kind) -> str:
    """Return what the user does next; empty where nothing is needed."""
    return _ROWS[kind].remedy


def condition_of(refusal: Refusal) -> Condition:
    """Return a refusal as a condition: EC2's words, and what the user does next."""
    kind = Kind(refusal.kind)
    todo = remedy(kind)
    text = f"{refusal.text}; {todo}" if todo else refusal.text
    return (unknown if kind in _PASSING else no)(refusal.kind, text)
