"""The Query protocol, against botocore's own serializer and parser."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.ec2.query_protocol import (
    MAX_PARAMETERS,
    NAMESPACE,
    Parameters,
    Structure,
    answer,
    decode,
    error_answer,
)

pytestmark = pytest.mark.pure

MODEL = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def sent(operation: str, parameters: dict[str, Any]) -> tuple[str, Parameters]:
    """Decode what botocore sends for a call."""
    serializer = create_serializer("ec2", include_validation=False)
    request = serializer.serialize_to_request(parameters, MODEL.operation_model(operation))
    return decode(b"", urlencode(request["body"]).encode())


def received(operation: str, content: bytes, status: int = 200) -> dict[str, Any]:
    """Parse an answer as botocore does."""
    shape = MODEL.operation_model(operation).output_shape
    assert shape is not None
    response = {"status_code": status, "headers": {}, "body": content}
    parsed: dict[str, Any] = create_parser("ec2").parse(response, shape)
    return parsed


@given(st.lists(texts, max_size=15), st.booleans(), texts)
def test_lists_and_scalars_arrive_as_sent(addresses: list[str], move: bool, interface: str) -> None:
    action, parameters = sent(
        "AssignPrivateIpAddresses",
        {"NetworkInterfaceId": interface, "PrivateIpAddresses": addresses, "AllowReassignment": move},
    )

    assert action == "AssignPrivateIpAddresses"
    assert parameters.require("NetworkInterfaceId") == interface
    assert parameters.listing("PrivateIpAddress") == tuple(addresses)
    assert parameters.flag("AllowReassignment") is move
    parameters.finish()


@given(st.lists(st.tuples(texts, st.lists(texts, max_size=12)), max_size=12))
def test_filters_arrive_as_sent(filters: list[tuple[str, list[str]]]) -> None:
    structures = [{"Name": name, "Values": values} for name, values in filters]

    _, parameters = sent("DescribeNetworkInterfaces", {"Filters": structures})

    assert parameters.filters() == tuple((name, tuple(values)) for name, values in filters)
    parameters.finish()


@given(texts)
def test_any_message_can_be_read_back(message: str) -> None:
    content = error_answer(Ec2Error("InvalidParameterValue", message), "request-1")

    parsed = received("DescribeSubnets", content, 400)

    assert parsed["Error"]["Code"] == "InvalidParameterValue"
    # XML 1.0, section 2.2: characters that it can't carry; section 2.11: line ends.
    carried = re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", message)
    assert parsed["Error"]["Message"] == re.sub("\r\n?", "\n", carried)
    assert parsed["ResponseMetadata"]["RequestId"] == "request-1"


def test_answers_are_in_ec2_s_namespace() -> None:
    root = ET.fromstring(answer("DescribeSubnets", {"subnetSet": []}, "request-1"))

    assert root.tag == f"{{{NAMESPACE}}}DescribeSubnetsResponse"
    assert root[0].tag == f"{{{NAMESPACE}}}requestId"


def test_answers_carry_lists_structures_and_scalars() -> None:
    structure: Structure = {
        "subnetSet": [
            {
                "subnetId": "subnet-1",
                "availableIpAddressCount": 7,
                "defaultForAz": False,
                "tagSet": [{"key": "a<b>&c", "value": "ü"}],
            }
        ],
        "nextToken": None,
    }

    parsed = received("DescribeSubnets", answer("DescribeSubnets", structure, "request-1"))

    assert parsed["Subnets"] == [
        {
            "SubnetId": "subnet-1",
            "AvailableIpAddressCount": 7,
            "DefaultForAz": False,
            "Tags": [{"Key": "a<b>&c", "Value": "ü"}],
        }
    ]
    assert "NextToken" not in parsed
    assert parsed["ResponseMetadata"]["RequestId"] == "request-1"


@pytest.mark.parametrize(
    ("values", "call", "code"),
    [
        ({"MaxResults": "many"}, lambda given: given.number("MaxResults"), "InvalidParameterValue"),
        ({"MaxResults": "9" * 10}, lambda given: given.number("MaxResults"), "InvalidParameterValue"),
        ({"DryRun": "yes"}, lambda given: given.flag("DryRun"), "InvalidParameterValue"),
        ({}, lambda given: given.require("SubnetId"), "MissingParameter"),
        ({"SubnetId": ""}, lambda given: given.require("SubnetId"), "MissingParameter"),
        ({"Filter.1.Value.1": "x"}, lambda given: given.filters(), "MissingParameter"),
        ({"Colour": "blue"}, lambda given: given.finish(), "UnknownParameter"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, str], call: Any, code: str) -> None:
    with pytest.raises(Ec2Error) as refused:
        call(Parameters(values))
    assert refused.value.code == code


def test_lists_go_by_number() -> None:
    parameters = Parameters({f"Id.{number}": str(number) for number in (10, 2, 1)})

    assert parameters.listing("Id") == ("1", "2", "10")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(query: bytes, body: bytes) -> None:
    with suppress(Ec2Error):
        assert decode(query, body)[0]


def test_too_many_parameters_are_refused() -> None:
    body = "&".join(f"Id.{number}=x" for number in range(MAX_PARAMETERS + 1)).encode()
    with pytest.raises(Ec2Error, match="MalformedQueryString"):
        decode(b"", body)
