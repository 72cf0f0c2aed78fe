"""Failures of calls to EC2 in the project's terms, whichever client made the call."""

from __future__ import annotations

import re

from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault, meaning
from ipagent.log import printable

MAX_TEXT = 720
"""Characters of a failure: a refusal by a policy, which names identity, ENI and policy, has up to 700."""

# Before "Encoded authorization failure message: …", which is long, and readable by STS alone.
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)

_TRUST = (
    "The role's trust policy does not let this pod assume it: allow its ServiceAccount there (the condition "
    "on sub is system:serviceaccount:NAMESPACE:NAME), and check that the role's ARN is right."
)
_IPV6_RANGE = (
    "Give the ENI's subnet an IPv6 range that contains the address (aws ec2 associate-subnet-cidr-block), or "
    "change the network's range, and replace the pod: it keeps its addresses for its life."
)
NOT_EC2 = (
    "Something else answers in EC2's place, or only a part of the answer arrives: see what is between "
    "the agent and EC2 (AWS_ENDPOINT_URL_EC2, HTTPS_PROXY, a proxy that wants a login, an emulation of EC2). "
    "If nothing does, look at the AWS Health Dashboard for the region."
)


def refusal(  # noqa: PLR0913 - what an error has, and who asked where
    what: str, code: str, message: str, *, status: int, operation: str, identity: str, region: str
) -> Failure:
    """Return the failure that an error of EC2, or of STS on the way to credentials, is."""
    meant = meaning(code, message, status)
    fault, remedy = meant.fault, meant.remedy
    if operation.startswith("AssumeRole"):
        # The call for credentials failed, not the call that they were for.
        remedy = _TRUST if fault is Fault.NO_PERMISSION else remedy
        fault = fault if fault in RETRIED else Fault.NO_CREDENTIALS
        what = f"{what}: {operation}"
    elif fault is Fault.REFUSED and what.startswith("AssignIpv6Addresses"):
        remedy = _IPV6_RANGE
    text = failure_text(what, f"{code}: {_ENCODED.sub('', message)}")
    if fault in (Fault.NO_PERMISSION, Fault.NO_CREDENTIALS):
        text += f" (credentials used: {identity}; region: {region})"
    return Failure(fault, text, remedy=remedy)


def unreadable(what: str, why: str) -> Failure:
    """Return the failure that an answer is in which EC2's is not to be found."""
    return Failure(Fault.TRANSIENT, failure_text(what, f"the answer can't be read: {why}"), remedy=NOT_EC2)


def no_error_of_ec2(what: str, status: int) -> Failure:
    """Return the failure that an HTTP status without an error of EC2's is."""
    text = failure_text(what, f"HTTP {status} without an error of EC2's")
    return Failure(Fault.TRANSIENT if status >= 500 else Fault.UNREACHABLE, text, remedy=NOT_EC2)


def unreachable(what: str, why: str) -> Failure:
    """Return the failure that no answer is."""
    return Failure(Fault.UNREACHABLE, failure_text(what, why))


def failure_text(what: str, why: str) -> str:
    """Join what was asked and why it failed, as one line that may be logged."""
    return printable(f"{what}: {why}")[:MAX_TEXT].rstrip(". ")
