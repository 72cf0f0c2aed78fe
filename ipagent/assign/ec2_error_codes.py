"""EC2's error codes: what kind of failure each one stands for, and what the user does next.

Codes are those of "Error codes for the Amazon EC2 API" in the EC2 API reference (the common ones, those of
servers, and those of ENIs, addresses, subnets, instances and tags), of STS ("Common errors" and the
AssumeRole actions in the STS API reference), and those that botocore retries (its `retries/standard.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from common.frozen_dataclass import dataclass, replace


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
    QUOTA = auto()
    """A limit of the account or the instance type, which only people can raise."""
    BAD_CALL = auto()
    """EC2 can't read the call: something is wrong with the agent, or with what is between it and EC2."""
    UNKNOWN = auto()
    """Anything else; permanent, so that nothing is retried for ever."""


@dataclass(frozen=True)
class Failure:
    """Why a call failed: the kind, and a sentence with the operation, EC2's code and message.

    `final`: it was looked up who holds the address; no further look changes it. `remedy` is what the user
    does next, empty where that is what goes with the kind. `pending`: it was sent, or waits for a call
    that was, and asking for it again tells whether that is answered by now; `before` is then what it failed
    with until then. `lasting`: it is tried again as others are, but has lasted so long that the user is told.
    `unsent`: it was not sent, as just now nothing is, so that this is no try.
    """

    fault: Fault
    text: str
    final: bool = False
    remedy: str = ""
    pending: bool = False
    before: Failure | None = None
    lasting: bool = False
    unsent: bool = False

    @property
    def told(self) -> Failure:
        """What is said of it: while an answer is out, what was said before is still true."""
        return self.before or self

    def after(self, last: Failure | None) -> Failure:
        """Return it with what an address has failed with before."""
        if not self.pending or last is None:
            return self
        return replace(self, before=last.before if last.pending else last)


RETRIED = frozenset({Fault.THROTTLED, Fault.TRANSIENT, Fault.UNREACHABLE, Fault.CONTENDED})
"""Trying again may help within seconds."""

HEALING = RETRIED | {
    Fault.NO_PERMISSION,
    Fault.NO_CREDENTIALS,
    Fault.ENI_FULL,
    Fault.SUBNET_FULL,
    Fault.QUOTA,
}
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


@dataclass(frozen=True)
class CodeGroup:
    """Codes with one meaning. `remedy` is empty where the one that goes with the kind of failure fits."""

    fault: Fault
    codes: tuple[str, ...]
    remedy: str = ""


def _group(fault: Fault, codes: str, remedy: str = "") -> CodeGroup:
    return CodeGroup(fault, tuple(codes.split()), remedy)


_CLOCK = "Set the node's clock (chrony): AWS rejects requests whose time is minutes off."
_NO_KEYS = (
    "remove keys and session tokens from the environment and files of the program that calls EC2 (the pod, "
    "the node agent or the controller), and give its ServiceAccount a role (EKS Pod Identity or IRSA)"
)
_REGION = (
    "Check that AWS_REGION is the node's own region, and that what the message names has not been deleted."
)

CODE_GROUPS = (
    _group(
        Fault.THROTTLED,
        "BandwidthLimitExceeded EC2ThrottledException ProvisionedThroughputExceededException "
        "RequestLimitExceeded RequestThrottled RequestThrottledException SlowDown ThrottledException "
        "Throttling ThrottlingException TooManyRequestsException",
    ),
    _group(
        Fault.TRANSIENT,
        "IDPCommunicationError InternalError InternalFailure InternalServerError "
        "PriorRequestNotComplete RequestTimeout RequestTimeoutException RetryableError ServerInternal "
        "ServiceUnavailable TransactionInProgressException Unavailable",
    ),
    _group(
        Fault.TRANSIENT,
        "ConcurrentTagAccess IncorrectInstanceState IncorrectState InvalidInstanceState InvalidState",
        "The ENI or its instance is just changing (it starts, or is being attached or detached). If that "
        "lasts, look at both in the EC2 console; the annotation multus-eni.io/timeout allows more time.",
    ),
    _group(
        Fault.TRANSIENT,
        "InsufficientCapacity InsufficientHostCapacity InsufficientInstanceCapacity "
        "InsufficientReservedInstanceCapacity InsufficientVolumeCapacity",
        "AWS has no capacity left for what was asked, and it comes back by itself: try again later, or in "
        "another Availability Zone.",
    ),
    _group(
        Fault.TRANSIENT,
        "InvalidNextToken InvalidPaginationToken",
        "The list changed while it was read: it is read again. If that never succeeds, find out what answers "
        "in EC2's place (AWS_ENDPOINT_URL_EC2, a proxy).",
    ),
    _group(Fault.NO_PERMISSION, "AccessDenied AccessDeniedException UnauthorizedOperation"),
    _group(
        Fault.NO_PERMISSION,
        "TagPolicyViolation",
        "The organization's tag policy forbids these tags: change the tags, or the policy.",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "AuthFailure IncompleteSignature InvalidAccessKeyId InvalidClientTokenId "
        "MissingAuthenticationToken MissingAuthenticationTokenException UnrecognizedClientException",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "ExpiredToken ExpiredTokenException",
        f"The credentials have expired and were not renewed: {_NO_KEYS}. If it has one, check the "
        "node's clock.",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "RequestInTheFuture RequestTimeTooSkewed",
        _CLOCK,
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "InvalidSecurity.RequestHasExpired RequestExpired",
        f"Temporary credentials have expired, or the clock is wrong: {_NO_KEYS}, and set the node's clock "
        "(chrony).",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "InvalidSignatureException SignatureDoesNotMatch",
        f"{_CLOCK} If it is right, the secret key is wrong, or a proxy changes the request.",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "IDPRejectedClaim InvalidIdentityToken",
        "STS refuses the ServiceAccount's token: IAM must have the cluster's OIDC provider, and the role's "
        "trust policy must name that provider, this ServiceAccount and the audience sts.amazonaws.com.",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "RegionDisabledException",
        "Activate STS for that region in the account (IAM, Account settings), or set "
        "AWS_STS_REGIONAL_ENDPOINTS and AWS_REGION to one that is active.",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "AccountDisabled Blocked PendingVerification",
        "AWS has locked the account, or has not verified it yet: its owner has to ask AWS Support.",
    ),
    _group(
        Fault.NO_CREDENTIALS,
        "NotSignedUp OptInRequired SubscriptionRequiredException",
        "The account has no access to EC2 in that region: activate the region, or wait until a new account "
        "is verified.",
    ),
    _group(
        Fault.NO_ENI,
        "InvalidNetworkInterface.Malformed InvalidNetworkInterface.NotFound "
        "InvalidNetworkInterfaceID.NotFound InvalidNetworkInterfaceId.Malformed",
        "The ENI was detached or deleted meanwhile: attach another one for the network, or create the pod "
        "again on another node. If EC2 shows it, AWS_REGION is not the node's region.",
    ),
    _group(
        Fault.NO_ENI,
        "InvalidAttachment.NotFound InvalidAttachmentID.NotFound InvalidInstanceID "
        "InvalidInstanceID.Malformed InvalidInstanceID.NotFound "
        "InvalidNetworkInterfaceAttachmentId.Malformed InvalidRegion InvalidSubnet "
        "InvalidSubnetID.Malformed InvalidSubnetID.NotFound InvalidSubnetId.NotFound "
        "InvalidVpcID.Malformed InvalidVpcID.NotFound InvalidZone.NotFound",
        _REGION,
    ),
    _group(
        Fault.NO_ENI,
        "InvalidNetworkInterface.InUse",
        "Another instance has the ENI: detach it there, or use another one.",
    ),
    _group(Fault.ENI_FULL, "InvalidInterface.IpAddressLimitExceeded PrivateIpAddressLimitExceeded"),
    _group(Fault.SUBNET_FULL, "InsufficientAddressCapacity InsufficientFreeAddressesInSubnet"),
    _group(
        Fault.SUBNET_FULL,
        "InsufficientCidrBlocks",
        "The subnet has no whole prefix left: keep a part of it free for prefixes (aws ec2 "
        "create-subnet-cidr-reservation --reservation-type prefix), or use another subnet.",
    ),
    _group(
        Fault.QUOTA,
        "AttachmentLimitExceeded",
        "The instance has no room for another ENI: use a larger instance type, or let the VPC CNI take fewer "
        "(MAX_ENI).",
    ),
    _group(
        Fault.QUOTA,
        "AddressLimitExceeded NetworkInterfaceLimitExceeded ResourceCountLimitExceeded "
        "ResourceLimitExceeded SecurityGroupLimitExceeded SecurityGroupsPerInstanceLimitExceeded "
        "SecurityGroupsPerInterfaceLimitExceeded SubnetLimitExceeded TagLimitExceeded "
        "VcpuLimitExceeded VpcLimitExceeded",
    ),
    _group(Fault.HELD_ELSEWHERE, "InvalidIPAddress.InUse Resource.AlreadyAssigned"),
    _group(Fault.REFUSED, "ClientInvalidParameterValue InvalidParameter InvalidParameterValue"),
    _group(
        Fault.BAD_CALL,
        "DryRunOperation FilterLimitExceeded IdempotentParameterMismatch InvalidAction "
        "InvalidCharacter InvalidFilter InvalidInput InvalidMaxResults InvalidParameterCombination "
        "InvalidParameterDependency InvalidQueryParameter InvalidRequest InvalidTagKey.Malformed "
        "MalformedQueryString MissingAction MissingInput MissingParameter NoSuchVersion "
        "RequestResourceCountExceeded ResourceCountExceeded UnknownParameter UnsupportedProtocol "
        "ValidationError",
    ),
    _group(
        Fault.UNKNOWN,
        "DependencyViolation OperationNotPermitted Unsupported UnsupportedException "
        "UnsupportedInstanceAttribute UnsupportedOperation VPCIdNotSpecified VPCResourceNotSpecified",
    ),
    _group(
        Fault.UNKNOWN,
        "Gateway.NotAttached",
        "An Elastic IP needs an internet gateway: attach one to the VPC.",
    ),
    _group(
        Fault.UNKNOWN,
        "InvalidAddress.Locked InvalidAddress.Malformed InvalidAddress.NotFound "
        "InvalidAddressID.NotFound InvalidAllocationID.NotFound InvalidAssociationID.NotFound "
        "Resource.AlreadyAssociated",
        "The Elastic IP in the message is not available: it was released, belongs to another account or "
        "region, or is associated with something else. See aws ec2 describe-addresses.",
    ),
    _group(
        Fault.UNKNOWN,
        "InvalidGroup.NotFound InvalidSecurityGroupID.NotFound InvalidSecurityGroupId.Malformed",
        "The security group in the message does not exist in the ENI's VPC: name one that does.",
    ),
)
"""Every code that the agent knows. Each stands once; docs/agent.md has them as a table."""

CODES: Mapping[str, CodeGroup] = MappingProxyType(
    {code: group for group in CODE_GROUPS for code in group.codes}
)
_SPELLINGS: Mapping[str, str] = MappingProxyType({code.lower(): code for code in CODES})
_SIDES = ("client.", "server.")
"""What codes begin with in EC2's older answers, in CloudTrail and in emulations."""


@dataclass(frozen=True)
class MessageRule:
    """A code that stands for many things: where its message contains `part`, the failure is this one.

    `part` is in lower case; the message may be in any.
    """

    codes: tuple[str, ...]
    part: str
    fault: Fault


_INVALID = ("InvalidParameterValue", "InvalidParameter", "ClientInvalidParameterValue")

# Sentences as public issue trackers and the VPC CNI's source quote them; the one of UnassignIpv6Addresses:
# F5Networks/f5-cloud-failover-extension#75.
MESSAGE_RULES = (
    MessageRule(_INVALID, "move is not allowed", Fault.HELD_ELSEWHERE),
    MessageRule(_INVALID, "already in use", Fault.HELD_ELSEWHERE),
    MessageRule(_INVALID, "not assigned to interface", Fault.NOT_HELD),
    MessageRule(_INVALID, "not mapped to interface", Fault.NOT_HELD),
    # Credentials are fine, and the ENI is a service's or another account's.
    MessageRule(
        ("AuthFailure",), "do not have permission to access the specified resource", Fault.FOREIGN_ENI
    ),
)


def meaning(code: str, message: str, status: int) -> CodeGroup:
    """Return what an error answer means, by EC2's code, its message and the HTTP status."""
    code = _listed(code)
    for rule in MESSAGE_RULES:
        if code in rule.codes and rule.part in message.lower():
            return CodeGroup(rule.fault, rule.codes)
    if code in CODES:
        return CODES[code]
    return CodeGroup(_unlisted(code, status), (code,))


def classify(code: str, message: str, status: int) -> Fault:
    """Return the kind of failure that an error answer stands for."""
    return meaning(code, message, status).fault


def _listed(code: str) -> str:
    """Return the listed code that this is a spelling or a case of; the code itself if there is none.

    EC2 writes both InvalidNetworkInterfaceID and InvalidNetworkInterfaceId, and adds a case after a dot.
    """
    code = code.strip()
    for side in _SIDES:
        if code.lower().startswith(side):
            code = code[len(side) :]
    spelled = code.lower()
    return _SPELLINGS.get(spelled) or _SPELLINGS.get(spelled.partition(".")[0]) or code


def _unlisted(code: str, status: int) -> Fault:
    if code.endswith(("IpAddress.InUse", "IPAddress.InUse")):
        return Fault.HELD_ELSEWHERE
    if code.endswith("AddressLimitExceeded"):
        return Fault.ENI_FULL
    if code.endswith("LimitExceeded"):
        return Fault.QUOTA
    if status == 429:
        return Fault.THROTTLED
    return Fault.TRANSIENT if status >= 500 else Fault.UNKNOWN
