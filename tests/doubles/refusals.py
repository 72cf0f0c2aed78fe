"""Every refusal of EC2 that the double knows: code, HTTP status and wording, in one place.

Codes are from "Error codes for the Amazon EC2 API" of the EC2 API reference. Where a docstring gives no
other source, the wording is the one that public issue trackers and SDK code quote; clients parse some of it.
Two wordings are our own, since none is public, and say so.
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
    """A primary address as the address to assign; the wording is ours."""
    listed = ", ".join(map(str, addresses))
    return Ec2Error("InvalidParameterValue", f"[{listed}] is the primary address of a network interface.")


def outside_subnet(address: object) -> Ec2Error:
    """An address that the interface's subnet does not contain."""
    return Ec2Error(
        "InvalidParameterValue", f"Address {address} does not fall within the subnet's address range"
    )


def reserved(address: object) -> Ec2Error:
    """One of the first four addresses of a subnet, or its last ("Subnet CIDR blocks", VPC user guide)."""
    return Ec2Error("InvalidParameterValue", f"Address {address} is in subnet's reserved range.")


def malformed_address(text: str) -> Ec2Error:
    """Text that is no IPv4 address."""
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
    """Unassigning an interface's primary address; the wording is ours."""
    return Ec2Error(
        "InvalidParameterValue", f"{address} is the primary address of the interface and can't be unassigned."
    )


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
