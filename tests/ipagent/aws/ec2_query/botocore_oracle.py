"""What botocore makes of the same parameters, answers and environments: the oracle of this folder's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

OPERATIONS = (
    "AssignPrivateIpAddresses",
    "AssignIpv6Addresses",
    "UnassignPrivateIpAddresses",
    "UnassignIpv6Addresses",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
)
"""What `QueryClient` calls."""


@cache
def ec2() -> ServiceModel:
    """Return botocore's whole model of EC2."""
    return ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")


def form_of(operation: str, parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sorted fields of the form that botocore sends."""
    serializer: Any = create_serializer("ec2", include_validation=False)
    request = serializer.serialize_to_request(parameters, ec2().operation_model(operation))
    return sorted(parse_qsl(urlencode(request["body"], doseq=True), keep_blank_values=True))


def answer_of(operation: str, body: bytes, status: int = 200) -> dict[str, Any]:
    """Return what botocore reads in an answer."""
    response = {"status_code": status, "headers": {}, "body": body}
    shape = ec2().operation_model(operation).output_shape
    assert shape is not None
    parsed: dict[str, Any] = create_parser("ec2").parse(response, shape)
    return parsed


def outcome(read: Callable[[], object]) -> object:
    """Return what it returns, or the kind of error that callers translate."""
    try:
        return read()
    except KeyError:
        return KeyError
    except ValueError:
        return ValueError
    except TypeError:
        return TypeError
