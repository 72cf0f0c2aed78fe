"""What is kept of EC2's refusals: which policy has to be changed stands at their end."""

from __future__ import annotations

import pytest

from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import error_of
from ipagent.aws.ec2_failures import MAX_TEXT, refusal
from ipagent.node.model.remedies import of_node_agent

pytestmark = pytest.mark.pure

ACTION = "UnassignPrivateIpAddresses"
ENI = "eni-0123456789abcdef0"
ROLE = "production-eu-central-1-workers-NodeInstanceRole-1A2B3C4D5E6F7G8"
SESSION = "eks-production-eu-web-7d9f8b6c5d-x2x4z-0f1e2d3c-4b5a-4c6d-8e7f"
"""As EKS Pod Identity names it. Names of roles and of sessions have up to 64 characters (IAM, STS)."""
DENIED = "arn:aws:organizations::123456789012:policy/o-a1b2c3d4e5/service_control_policy/p-a1b2c3d4"
REASONS = [
    f"with an explicit deny in a service control policy: {DENIED}",
    f"because no identity-based policy allows the ec2:{ACTION} action",
    f"because no VPC endpoint policy allows the ec2:{ACTION} action",
    f"because no permissions boundary allows the ec2:{ACTION} action",
]


@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_says_which_policy_refuses(reason: str) -> None:
    message = (
        "You are not authorized to perform this operation. User: "
        f"arn:aws-us-gov:sts::123456789012:assumed-role/{ROLE}/{SESSION} is not authorized to perform: "
        f"ec2:{ACTION} on resource: arn:aws-us-gov:ec2:us-gov-west-1:123456789012:network-interface/{ENI} "
        f"{reason}. Encoded authorization failure message: {'x' * 700}"
    )
    failure = refusal(
        f"{ACTION} on {ENI}",
        "UnauthorizedOperation",
        message,
        status=403,
        operation=ACTION,
        identity="container-role",
        region="us-gov-west-1",
    )
    assert failure.fault is Fault.NO_PERMISSION
    assert f"{ENI} {reason} (credentials used: container-role" in failure.text
    assert "Encoded" not in failure.text


def test_the_remedy_names_the_policies_that_are_not_the_identitys() -> None:
    failure = refusal(
        "w", "UnauthorizedOperation", "no", status=403, operation=ACTION, identity="env", region="eu-west-1"
    )
    for error in (error_of(failure), of_node_agent(error_of(failure))):
        assert "service control policy" in error.remedy
        assert "VPC endpoint" in error.remedy


@pytest.mark.parametrize(
    ("action", "said", "expected"),
    [
        ("AssignIpv6Addresses", "The subnet has no IPv6 CIDR block", "aws ec2 associate-subnet-cidr-block"),
        ("AssignPrivateIpAddresses", "Address does not fall within the subnet's range", ""),
    ],
)
def test_a_refused_ipv6_address_may_lack_its_subnets_range(action: str, said: str, expected: str) -> None:
    failure = refusal(
        f"{action} on {ENI}",
        "InvalidParameterValue",
        said,
        status=400,
        operation="",
        identity="env",
        region="eu-west-1",
    )
    assert failure.fault is Fault.REFUSED
    assert (expected in failure.remedy, bool(failure.remedy)) == (True, bool(expected))
    assert "hange the network's range" in error_of(failure).remedy


def test_whatever_ec2_says_it_is_bounded() -> None:
    failure = refusal(
        "w", "InvalidState", "x" * 9_000, status=400, operation=ACTION, identity="env", region="eu-west-1"
    )
    assert len(failure.text) == MAX_TEXT
