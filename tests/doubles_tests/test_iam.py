"""What policies allow, as IAM's user guide says it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.ec2.iam import AccessKey, Asked, actions_only, read_policy

pytestmark = pytest.mark.pure

ENI = "arn:aws:ec2:eu-central-1:123456789012:network-interface/eni-0a000000000000001"


def allows(key: AccessKey, action: str, context: dict[str, tuple[str, ...]] | None = None) -> bool:
    return key.allows(Asked(action, ENI, context or {}))


def with_policy(*statements: dict[str, Any]) -> AccessKey:
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    return AccessKey("AKIA", "secret", "arn", statements=read_policy(policy))


def conditional(**condition: dict[str, Any]) -> AccessKey:
    """Return a key with one statement; an operator's colon is written as a double underscore."""
    named = {operator.replace("__", ":"): keys for operator, keys in condition.items()}
    return with_policy({"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": named})


@pytest.mark.parametrize(
    ("patterns", "action", "allowed"),
    [
        (("*",), "AssignPrivateIpAddresses", True),
        (("Describe*",), "DescribeSubnets", True),
        (("Describe*",), "AssignPrivateIpAddresses", False),
        (("Describe?ubnets",), "DescribeSubnets", True),
        (("describesubnets",), "DescribeSubnets", True),
        (("DescribeInstances", "DescribeSubnets"), "DescribeSubnets", True),
        ((), "DescribeSubnets", False),
    ],
)
def test_rights_are_patterns_of_actions(patterns: tuple[str, ...], action: str, allowed: bool) -> None:
    key = AccessKey("AKIA", "secret", "arn", statements=actions_only(patterns))
    assert allows(key, action) is allowed


def test_a_resource_is_a_pattern_and_a_denial_wins() -> None:
    everything = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    interfaces = {
        "Effect": "Allow",
        "Action": ["ec2:Attach*"],
        "Resource": "arn:aws:ec2:*:*:network-interface/*",
    }
    subnets = {**interfaces, "Resource": ["arn:aws:ec2:*:*:subnet/*"]}
    denial = {"Effect": "Deny", "Action": "ec2:AttachNetworkInterface", "Resource": "*"}
    assert allows(with_policy(interfaces), "AttachNetworkInterface")
    assert not allows(with_policy(subnets), "AttachNetworkInterface")
    assert allows(with_policy(subnets, everything), "AttachNetworkInterface")
    assert not allows(with_policy(everything, denial), "AttachNetworkInterface")
    assert allows(with_policy(everything, denial), "DetachNetworkInterface")


def test_rights_of_other_services_are_none_of_ec2() -> None:
    assert not allows(with_policy({"Effect": "Allow", "Action": "sts:*", "Resource": "*"}), "DescribeSubnets")


TAG = "aws:ResourceTag/cluster"
KEY = "aws:resourcetag/cluster"


@pytest.mark.parametrize(
    ("condition", "context", "allowed"),
    [
        ({"StringEquals": {TAG: "a"}}, {KEY: ("a",)}, True),
        ({"StringEquals": {TAG: ["b", "a"]}}, {KEY: ("a",)}, True),
        ({"StringEquals": {TAG: "a"}}, {KEY: ("b",)}, False),
        ({"StringEquals": {TAG: "a"}}, {}, False),
        ({"StringEqualsIfExists": {TAG: "a"}}, {}, True),
        ({"StringEquals": {TAG: "a*"}}, {KEY: ("ab",)}, False),
        ({"StringLike": {TAG: "a*"}}, {KEY: ("ab",)}, True),
        ({"StringNotEquals": {TAG: "a"}}, {KEY: ("b",)}, True),
        ({"StringNotEquals": {TAG: "a"}}, {KEY: ("a",)}, False),
        ({"StringNotEquals": {TAG: "a"}}, {}, True),
        ({"Null": {TAG: "true"}}, {}, True),
        ({"Null": {TAG: "false"}}, {}, False),
        ({"Null": {TAG: "false"}}, {KEY: ("a",)}, True),
        ({"ArnEquals": {"ec2:Vpc": "arn:aws:ec2:*:1:vpc/v"}}, {"ec2:vpc": ("arn:aws:ec2:x:1:vpc/v",)}, True),
        ({"ForAllValues__StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:tagkeys": ("a",)}, True),
        ({"ForAllValues__StringEquals": {"aws:TagKeys": ["a"]}}, {"aws:tagkeys": ("a", "c")}, False),
        ({"ForAllValues__StringEquals": {"aws:TagKeys": ["a"]}}, {}, True),
        ({"ForAnyValue__StringEquals": {"aws:TagKeys": ["a"]}}, {"aws:tagkeys": ("a", "c")}, True),
        ({"ForAnyValue__StringEquals": {"aws:TagKeys": ["a"]}}, {}, False),
        ({"StringEquals": {TAG: "a", "ec2:Region": "x"}}, {KEY: ("a",)}, False),
    ],
)
def test_conditions(condition: dict[str, Any], context: dict[str, tuple[str, ...]], allowed: bool) -> None:
    assert allows(conditional(**condition), "DescribeSubnets", context) is allowed


@pytest.mark.parametrize(
    "policy",
    [
        {"Statement": []},
        {"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps", "Action": "ec2:*", "Resource": "*"}]},
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "NotAction": "ec2:*", "Resource": "*"}]},
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*"}]},
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "ec2:*",
                    "Resource": "*",
                    "Condition": {"NumericEquals": {"a": "1"}},
                }
            ],
        },
    ],
)
def test_what_is_not_known_here_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_policy(policy)
