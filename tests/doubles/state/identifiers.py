"""The forms of EC2's identifiers, and how EC2 refuses malformed and unknown ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.doubles.ec2 import errors

T = TypeVar("T")


@dataclass(frozen=True)
class Identifier:
    """One kind of identifier: `eni-` and eight or seventeen hexadecimal digits, the two lengths in use."""

    prefix: str
    noun: str
    not_found: str
    malformed: str

    @property
    def pattern(self) -> str:
        """The regular expression that a whole identifier of this kind matches."""
        return rf"{self.prefix}(?:[0-9a-f]{{8}}|[0-9a-f]{{17}})"

    def find(self, known: Mapping[str, T], identifier: str) -> T:
        """Look an identifier up; raises `Ec2Error` for a malformed or unknown one."""
        if not re.fullmatch(self.pattern, identifier):
            raise errors.malformed_id(self.malformed, identifier, self.prefix)
        if identifier not in known:
            raise errors.not_found(self.not_found, self.noun, identifier)
        return known[identifier]


# The spelling Id or ID is EC2's own and differs from code to code.
INTERFACE = Identifier(
    "eni-",
    "networkInterface ID",
    "InvalidNetworkInterfaceID.NotFound",
    "InvalidNetworkInterfaceId.Malformed",
)
INSTANCE = Identifier("i-", "instance ID", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
SUBNET = Identifier("subnet-", "subnet ID", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed")
ATTACHMENT = Identifier(
    "eni-attach-",
    "interface attachment",
    "InvalidAttachmentID.NotFound",
    "InvalidNetworkInterfaceAttachmentId.Malformed",
)
GROUP = Identifier("sg-", "security group", "InvalidGroup.NotFound", "InvalidGroupId.Malformed")
RESERVATION = Identifier(
    "scr-",
    "subnet CIDR reservation",
    "InvalidSubnetCidrReservationID.NotFound",
    "InvalidSubnetCidrReservationID.Malformed",
)
ALLOCATION = Identifier(
    "eipalloc-", "allocation ID", "InvalidAllocationID.NotFound", "InvalidAllocationID.Malformed"
)
ASSOCIATION = Identifier(
    "eipassoc-", "association ID", "InvalidAssociationID.NotFound", "InvalidAssociationID.Malformed"
)
ENDPOINT = Identifier(
    "vpce-", "Vpc Endpoint Id", "InvalidVpcEndpointId.NotFound", "InvalidVpcEndpointId.Malformed"
)
ROUTE_TABLE = Identifier(
    "rtb-", "routeTable ID", "InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed"
)
VPC = Identifier("vpc-", "vpc ID", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed")


def attachment_of(interface: str) -> str:
    """Return the id of the attachment with which an interface begins."""
    return "eni-attach-" + interface.removeprefix("eni-")
