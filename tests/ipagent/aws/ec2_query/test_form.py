"""Requests in the form that botocore gives them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.aws.ec2_query.query_protocol import form
from tests.ipagent.aws.ec2_query.botocore_oracle import OPERATIONS, ec2, form_of

pytestmark = pytest.mark.pure

ENI = "eni-0a000000000000001"


def fields(operation: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted(parse_qsl(form(operation, parameters).decode("ascii"), keep_blank_values=True))


@pytest.mark.parametrize(
    ("operation", "parameters", "expected"),
    [
        (
            "AssignPrivateIpAddresses",
            {
                "NetworkInterfaceId": ENI,
                "PrivateIpAddresses": ["10.0.0.5", "10.0.0.6"],
                "AllowReassignment": True,
            },
            {
                "NetworkInterfaceId": ENI,
                "PrivateIpAddress.1": "10.0.0.5",
                "PrivateIpAddress.2": "10.0.0.6",
                "AllowReassignment": "true",
            },
        ),
        (
            "AssignIpv6Addresses",
            {"NetworkInterfaceId": ENI, "Ipv6Addresses": ["2001:db8::5"]},
            {"NetworkInterfaceId": ENI, "Ipv6Addresses.1": "2001:db8::5"},
        ),
        ("UnassignPrivateIpAddresses", {"PrivateIpAddresses": ()}, {}),
        (
            "DescribeNetworkInterfaces",
            {
                "Filters": [{"Name": "subnet-id", "Values": ["a", "b"]}],
                "MaxResults": 1000,
                "NextToken": "t=&/",
            },
            {
                "Filter.1.Name": "subnet-id",
                "Filter.1.Value.1": "a",
                "Filter.1.Value.2": "b",
                "MaxResults": "1000",
                "NextToken": "t=&/",
            },
        ),
        ("DescribeNetworkInterfaces", {"NetworkInterfaceIds": [ENI]}, {"NetworkInterfaceId.1": ENI}),
        ("DescribeSubnets", {"Filters": [{"Name": "é €", "Values": []}]}, {"Filter.1.Name": "é €"}),
    ],
)
def test_a_form_has_ec2s_names(operation: str, parameters: dict[str, Any], expected: dict[str, str]) -> None:
    whole = {"Action": operation, "Version": "2016-11-15", **expected}
    assert fields(operation, parameters) == sorted(whole.items()) == form_of(operation, parameters)


def sample(shape: Any) -> Any:
    """Return a value of a shape in botocore's model, with all members that it may have."""
    if shape.type_name == "list":
        return [sample(shape.member), sample(shape.member)]
    if shape.type_name == "structure":
        return {name: sample(member) for name, member in shape.members.items()}
    return {"string": "text", "integer": 7, "boolean": True}[shape.type_name]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_parameter_of_the_model_has_its_name(operation: str) -> None:
    every = sample(ec2().operation_model(operation).input_shape)
    assert len(every) >= 2
    assert fields(operation, every) == form_of(operation, every)


TEXTS = st.text(max_size=30)
LISTS = st.lists(TEXTS, max_size=12)
ADDRESSES = {"NetworkInterfaceId": TEXTS}
IPV4 = {**ADDRESSES, "PrivateIpAddresses": LISTS}
IPV6 = {**ADDRESSES, "Ipv6Addresses": LISTS}
FILTERS = st.lists(st.fixed_dictionaries({"Name": TEXTS, "Values": LISTS}), max_size=4)
PAGES = {"Filters": FILTERS, "MaxResults": st.integers(), "NextToken": TEXTS}
PARAMETERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "AssignPrivateIpAddresses": {**IPV4, "AllowReassignment": st.booleans()},
    "AssignIpv6Addresses": IPV6,
    "UnassignPrivateIpAddresses": IPV4,
    "UnassignIpv6Addresses": IPV6,
    "DescribeNetworkInterfaces": {**PAGES, "NetworkInterfaceIds": LISTS},
    "DescribeSubnets": PAGES,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@given(st.data())
def test_a_form_is_the_one_that_botocore_sends(operation: str, data: st.DataObject) -> None:
    parameters = data.draw(st.fixed_dictionaries({}, optional=PARAMETERS[operation]))
    assert fields(operation, parameters) == form_of(operation, parameters)


@given(st.text(max_size=20))
def test_a_form_is_quoted_as_by_urllib(text: str) -> None:
    expected = urlencode([("Action", text), ("Version", text), (text, text)]).encode("ascii")
    assert form(text, {text: text}, text) == expected
