"""Every error of the EC2 double: code, HTTP status and wording. `state/` and the actions raise them.

Codes are from "Error codes for the Amazon EC2 API" of the EC2 API reference. Where a docstring gives no
other source, the wording is the one that public issue trackers and SDK code quote; clients parse some of it.
"Unconfirmed" is said where no public source shows what EC2 answers: the code is then the documented one that
fits best, the wording our own. A client should not depend on it; an injected fault plays other answers.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

_STATUS = {
    "AuthFailure": 401,
    "DryRunOperation": 412,
    "InternalError": 500,
    "MalformedQueryString": 404,
    "MissingAuthenticationToken": 403,
    "RequestEntityTooLarge": 413,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
"""HTTP status of the codes that are not answered with 400."""


class Ec2Error(Exception):
    """A call that EC2 answers with an error: its code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = _STATUS.get(code, 400) if status is None else status


def move_not_allowed(addresses: Iterable[object]) -> Ec2Error:
    """Another interface's secondary address without AllowReassignment; clients parse this sentence."""
    listed = ", ".join(map(str, addresses))
    return Ec2Error("InvalidParameterValue", f"[{listed}] assigned, but move is not allowed.")


def primary_not_movable(addresses: Iterable[object]) -> Ec2Error:
    """A primary address as the address to assign; the wording is unconfirmed."""
    listed = ", ".join(map(str, addresses))
    return Ec2Error("InvalidParameterValue", f"[{listed}] is the primary address of a network interface.")


def outside_subnet(address: object) -> Ec2Error:
    """An address that the interface's subnet does not contain."""
    return Ec2Error(
        "InvalidParameterValue", f"Address {address} does not fall within the subnet's address range"
    )


def reserved(address: object) -> Ec2Error:
    """One of the first four addresses of a subnet's range, or its last ("Subnet sizing", VPC user guide)."""
    return Ec2Error("InvalidParameterValue", f"Address {address} is in subnet's reserved range.")


def malformed_address(text: str) -> Ec2Error:
    """Text that is not an address of the family that the action is about."""
    return Ec2Error("InvalidParameterValue", f"invalid value for parameter address: {text}")


def interface_full(interface: str) -> Ec2Error:
    """More addresses than the instance type allows on one interface, the primary counted."""
    return Ec2Error(
        "PrivateIpAddressLimitExceeded", f"{interface}: Number of private addresses will exceed limit."
    )


def subnet_full() -> Ec2Error:
    """No free address left to choose."""
    return Ec2Error(
        "InsufficientFreeAddressesInSubnet",
        "The specified subnet does not have enough free addresses to satisfy the request.",
    )


def not_assigned(interface: str) -> Ec2Error:
    """Unassigning what the interface does not have; clients take this sentence for success."""
    return Ec2Error(
        "InvalidParameterValue",
        f"Some of the specified addresses are not assigned to interface {interface}",
    )


def primary_not_unassignable(address: object) -> Ec2Error:
    """Unassigning an interface's primary address; the wording is unconfirmed."""
    return Ec2Error(
        "InvalidParameterValue", f"{address} is the primary address of the interface and can't be unassigned."
    )


def inside_prefix(addresses: Iterable[object]) -> Ec2Error:
    """An address out of a prefix that an interface has; unconfirmed."""
    listed = ", ".join(map(str, addresses))
    return Ec2Error("InvalidParameterValue", f"[{listed}] is part of a prefix of a network interface.")


def prefix_in_use(prefix: object) -> Ec2Error:
    """A prefix of which an interface has an address or a part already; unconfirmed."""
    return Ec2Error("InvalidParameterValue", f"The prefix {prefix} is not free.")


def prefixes_not_assigned(interface: str) -> Ec2Error:
    """Unassigning a prefix that the interface does not have; unconfirmed."""
    return Ec2Error(
        "InvalidParameterValue",
        f"Some of the specified prefixes are not assigned to interface {interface}",
    )


def malformed_prefix(text: str, length: int) -> Ec2Error:
    """Text that is not a block of the one length that prefixes have; the wording is unconfirmed."""
    return Ec2Error(
        "InvalidParameterValue", f"invalid value for parameter prefix: {text}, expecting a /{length}"
    )


def no_free_block() -> Ec2Error:
    """No whole block left to choose in a subnet that has addresses; amazon-vpc-cni-k8s#1836 quotes it."""
    return Ec2Error(
        "InsufficientCidrBlocks",
        "The specified subnet does not have enough free cidr blocks to satisfy the request.",
    )


def too_few_addresses_for_prefixes() -> Ec2Error:
    """Fewer free addresses than the prefixes have; cilium/cilium#31016 quotes EC2's team on the two codes."""
    return Ec2Error("InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes")


def no_prefix_delegation(instance_type: str) -> Ec2Error:
    """A prefix for an interface of an instance that is not built on Nitro; unconfirmed."""
    return Ec2Error("UnsupportedOperation", f"Prefix delegation is not supported for {instance_type}.")


def reservation_outside_subnet(cidr: object) -> Ec2Error:
    """A reservation that the subnet does not contain; the wording is unconfirmed."""
    return Ec2Error("InvalidParameterValue", f"The CIDR {cidr} is not within the range of the subnet.")


def reservation_overlaps(cidr: object, other: object) -> Ec2Error:
    """A reservation over another one; unconfirmed."""
    return Ec2Error("InvalidParameterValue", f"The CIDR {cidr} overlaps the reservation {other}.")


def no_ipv6_range(subnet: str) -> Ec2Error:
    """An IPv6 address for an interface of a subnet that has no IPv6 range; unconfirmed."""
    return Ec2Error("InvalidParameterValue", f"The subnet '{subnet}' has no IPv6 CIDR block.")


def ipv6_in_use(addresses: Iterable[object]) -> Ec2Error:
    """Another interface's IPv6 address, which no flag can move.

    Unconfirmed for this action: `InvalidIPAddress.InUse` is the documented code for an address in use, and
    CreateNetworkInterface is reported to answer with this wording.
    """
    listed = ", ".join(map(str, addresses))
    return Ec2Error("InvalidIPAddress.InUse", f"[{listed}] The specified address is already in use.")


def ipv6_interface_full(interface: str) -> Ec2Error:
    """More IPv6 addresses than the instance type allows on one interface.

    Unconfirmed: the documented code for the limit of an instance type names private addresses alone.
    """
    return Ec2Error(
        "PrivateIpAddressLimitExceeded", f"{interface}: Number of IPv6 addresses will exceed limit."
    )


def ipv6_not_assigned(address: object, interface: str) -> Ec2Error:
    """Unassigning an IPv6 address that the interface does not have.

    The wording is quoted by F5Networks/f5-cloud-failover-extension#75; its code is unconfirmed.
    """
    return Ec2Error(
        "InvalidParameterValue", f"The address '{address}' is not mapped to interface ID '{interface}'"
    )


def ipv6_addresses_and_count() -> Ec2Error:
    """IPv6 addresses and a count of them; the wording is quoted by ansible/ansible#40334."""
    return Ec2Error(
        "InvalidParameterCombination",
        "IPv6 addresses and IPv6 address count may not be specified on the same request",
    )


def address_quota() -> Ec2Error:
    """More Elastic IPs than the account may have; the wording is quoted in many public issues."""
    return Ec2Error("AddressLimitExceeded", "The maximum number of addresses has been reached.")


def no_such_address(address: object) -> Ec2Error:
    """A public address that the account does not have, or not in this network border group."""
    return Ec2Error("InvalidAddress.NotFound", f"Address '{address}' not found.")


def address_associated(address: object) -> Ec2Error:
    """Releasing an Elastic IP that is associated."""
    return Ec2Error("InvalidIPAddress.InUse", f"Address {address} is in use.")


def already_associated(resource: str, association: str) -> Ec2Error:
    """An association with AllowReassociation=false; ansible/ansible#27385 quotes it for an Elastic IP.

    Unconfirmed where the private address has another Elastic IP: the documented code is about any resource.
    """
    return Ec2Error(
        "Resource.AlreadyAssociated",
        f"resource {resource} is already associated with associate-id {association}",
    )


def no_internet_gateway(vpc: str) -> Ec2Error:
    """An Elastic IP in a VPC without internet gateway; quoted by hashicorp/terraform-provider-aws#2181."""
    return Ec2Error("Gateway.NotAttached", f"Network {vpc} is not attached to any internet gateway")


def other_border_group(allocation: str, group: str, wanted: str) -> Ec2Error:
    """An Elastic IP of another network border group than the interface's zone; unconfirmed."""
    return Ec2Error(
        "InvalidParameterValue",
        f"The address {allocation} of network border group {group} can't be associated in {wanted}.",
    )


def private_address_not_there(address: object, interface: str) -> Ec2Error:
    """An Elastic IP for a private address that the interface does not have; unconfirmed."""
    return Ec2Error(
        "InvalidParameterValue", f"The private IP address {address} is not assigned to {interface}."
    )


def interface_in_use(interface: str) -> Ec2Error:
    """Attaching an interface that is attached; the wording is quoted in many public issues."""
    return Ec2Error("InvalidNetworkInterface.InUse", f"Interface: [{interface}] in use.")


def interface_attached(interface: str) -> Ec2Error:
    """Deleting an interface that is attached."""
    return Ec2Error("InvalidParameterValue", f"Network interface '{interface}' is currently in use.")


def other_zone() -> Ec2Error:
    """Attaching an interface to an instance of another availability zone."""
    return Ec2Error(
        "InvalidParameterCombination",
        "You may not attach a network interface to an instance if they are not in the same availability zone",
    )


def device_in_use(instance: str, device: int) -> Ec2Error:
    """Attaching an interface where another one is."""
    return Ec2Error(
        "InvalidParameterValue",
        f"Instance '{instance}' already has an interface attached at device index '{device}'.",
    )


def no_network_card(card: int, instance_type: str) -> Ec2Error:
    """Attaching an interface to a network card that the type does not have; the wording is unconfirmed."""
    return Ec2Error("InvalidParameterValue", f"{instance_type} has no network card of index {card}.")


def too_many_interfaces(count: int, instance_type: str) -> Ec2Error:
    """More interfaces than the instance type allows; the VPC CNI's issues quote the wording."""
    return Ec2Error(
        "AttachmentLimitExceeded", f"Interface count {count} exceeds the limit for {instance_type}"
    )


def primary_interface() -> Ec2Error:
    """Detaching the interface that an instance is launched with."""
    return Ec2Error("OperationNotPermitted", "The network interface at device index 0 cannot be detached.")


def address_in_use() -> Ec2Error:
    """Creating an interface with an address that another one has."""
    return Ec2Error("InvalidIPAddress.InUse", "The specified address is already in use.")


def other_network(group: str, vpc: str) -> Ec2Error:
    """A security group of another VPC than the interface's; the wording is quoted in public issues."""
    return Ec2Error(
        "InvalidParameterValue",
        f"You have specified two resources that belong to different networks: {group} and {vpc}",
    )


def incorrect_state(instance: str, state: str) -> Ec2Error:
    """Attaching to an instance that neither runs nor is stopped; code and wording are unconfirmed."""
    return Ec2Error(
        "IncorrectState",
        f"The instance '{instance}' is not in a state from which an interface can be attached: {state}.",
    )


def no_attachment(attachment: str) -> Ec2Error:
    """Changing an attachment that is not the interface's; the wording is unconfirmed."""
    return not_found("InvalidAttachmentID.NotFound", "interface attachment", attachment)


def other_parameters(token: str) -> Ec2Error:
    """A ClientToken that was used with other parameters ("Ensuring idempotency", EC2 developer guide)."""
    return Ec2Error(
        "IdempotentParameterMismatch",
        f"The client token {token} has been used with other request parameters.",
    )


def one_attribute() -> Ec2Error:
    """ModifyNetworkInterfaceAttribute for several attributes; the wording is unconfirmed."""
    return Ec2Error("InvalidParameterCombination", "You can specify only one attribute at a time.")


def no_attribute() -> Ec2Error:
    """ModifyNetworkInterfaceAttribute for none."""
    return Ec2Error("MissingParameter", "The request must contain an attribute to modify")


def no_such_type(name: str) -> Ec2Error:
    """An instance type that is not known."""
    return Ec2Error("InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]")


def invalid_id(identifier: str) -> Ec2Error:
    """Tagging what has no identifier of a resource."""
    return Ec2Error("InvalidID", f"The ID '{identifier}' is not valid")


def wrong_tag(reason: str) -> Ec2Error:
    """A tag that no resource may have."""
    return Ec2Error("InvalidParameterValue", reason)


def too_many_tags(resource: str, limit: int) -> Ec2Error:
    """More tags than a resource may have; the wording is unconfirmed."""
    return Ec2Error("TagLimitExceeded", f"The maximum number of tags of {resource} is {limit}.")


def not_found(code: str, noun: str, identifier: str) -> Ec2Error:
    """An identifier of the right form that names nothing."""
    return Ec2Error(code, f"The {noun} '{identifier}' does not exist")


def malformed_id(code: str, identifier: str, prefix: str) -> Ec2Error:
    """An identifier of the wrong form."""
    return Ec2Error(code, f'Invalid id: "{identifier}" (expecting "{prefix}...")')


def missing_parameter(what: str) -> Ec2Error:
    """A parameter that must be there."""
    return Ec2Error("MissingParameter", f"The request must contain the parameter {what}")


def unknown_parameter(name: str) -> Ec2Error:
    """A parameter that the action does not have."""
    return Ec2Error("UnknownParameter", f"The parameter {name} is not recognized")


def unsupported_parameter(name: str) -> Ec2Error:
    """A parameter that EC2 has and this double has not."""
    return Ec2Error("UnsupportedOperation", f"This EC2 double does not support the parameter {name}.")


def invalid_value(value: object, parameter: str, expected: str) -> Ec2Error:
    """A value outside what the parameter allows."""
    return Ec2Error(
        "InvalidParameterValue", f"Value ( {value} ) for parameter {parameter} is invalid. {expected}"
    )


def excluding_parameters(one: str, other: str) -> Ec2Error:
    """Two parameters that exclude each other."""
    return Ec2Error(
        "InvalidParameterCombination", f"The parameter {one} cannot be used with the parameter {other}"
    )


def invalid_filter(name: str) -> Ec2Error:
    """A filter that the action does not have."""
    return Ec2Error("InvalidParameterValue", f"The filter '{name}' is invalid")


def too_many_filter_values(limit: int) -> Ec2Error:
    """More filter values in one request than EC2 allows."""
    return Ec2Error("FilterLimitExceeded", f"The maximum number of filter values is {limit}.")


def invalid_next_token() -> Ec2Error:
    """A NextToken that this call did not give out."""
    return Ec2Error("InvalidNextToken", "The specified NextToken is not valid.")


def dry_run() -> Ec2Error:
    """A call with DryRun that would have succeeded."""
    return Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


def throttled() -> Ec2Error:
    """More requests than the token bucket of an API holds."""
    return Ec2Error("RequestLimitExceeded", "Request limit exceeded.")


def invalid_action(action: str) -> Ec2Error:
    """An action that is not there."""
    return Ec2Error("InvalidAction", f"The action {action} is not valid for this web service.")


def no_such_version(version: str) -> Ec2Error:
    """Another API version than 2016-11-15."""
    return Ec2Error(
        "NoSuchVersion", f'The requested version ({version}) of service "AmazonEC2" does not exist'
    )


def missing_signature() -> Ec2Error:
    """A call without signature."""
    return Ec2Error("MissingAuthenticationToken", "Request is missing Authentication Token")


def auth_failure() -> Ec2Error:
    """A signature by an unknown key, for another service or region, or without its session token."""
    return Ec2Error("AuthFailure", "AWS was not able to validate the provided access credentials")


def unauthorized(user: str, action: str, resource: str) -> Ec2Error:
    """A caller without the right to the action; EC2 adds an encoded message, readable by STS alone."""
    encoded = base64.urlsafe_b64encode(hashlib.sha512(f"{user} {action} {resource}".encode()).digest() * 4)
    return Ec2Error(
        "UnauthorizedOperation",
        f"You are not authorized to perform this operation. User: {user} is not authorized to perform: "
        f"ec2:{action} on resource: {resource} because no identity-based policy allows the ec2:{action} "
        f"action. Encoded authorization failure message: {encoded.decode().rstrip('=')}",
    )
