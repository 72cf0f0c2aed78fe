"""Signatures that are botocore's."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from ipagent.aws.ec2_query.signature import FORM, Keys, signed_headers
from ipagent.aws.urls import host_of

pytestmark = pytest.mark.pure

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def botocores(body: bytes, endpoint: str, region: str, keys: Keys) -> dict[str, str]:
    """Return the headers that botocore sends; that it sends the host that it has signed is http.client's."""
    request = AWSRequest("POST", f"{endpoint}/", {"Content-Type": FORM}, data=body)
    credentials = Credentials(keys.access_key, keys.secret_key, keys.token or None)
    with patch("botocore.auth.get_current_datetime", lambda: AT):
        SigV4Auth(credentials, "ec2", region).add_auth(request)
    headers: HTTPHeaders = request.headers
    return {name.lower(): value for name, value in headers.items()}


def here(body: bytes, endpoint: str, region: str, keys: Keys) -> dict[str, str]:
    headers = signed_headers(
        body, host=host_of(endpoint), region=region, keys=keys, at=f"{AT:%Y%m%dT%H%M%SZ}"
    )
    headers.pop("host")
    return headers


REGION, ENDPOINT = "eu-central-1", "https://ec2.eu-central-1.amazonaws.com"
FORM_BODY = b"Action=DescribeSubnets&Version=2016-11-15"
NEVER = float("inf")


@pytest.mark.parametrize(
    ("keys", "endpoint"),
    [
        (Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "", NEVER), ENDPOINT),
        (Keys("ASIAEXAMPLE", "secret", "IQoJb3JpZ2luX2VjE///+==", NEVER), ENDPOINT),
        (Keys("AKID", "s", " a  token\twith spaces ", NEVER), ENDPOINT),
        (Keys("AKID", "é € 😀", "t", NEVER), ENDPOINT),
        (Keys("AKID", "s", "", NEVER), "http://127.0.0.1:8080"),
        (Keys("AKID", "s", "", NEVER), "https://EC2.Example.com:443"),
        (Keys("AKID", "s", "", NEVER), "http://[::1]:8080"),
        (Keys("AKID", "s", "", NEVER), "http://[fd00:ec2::23]"),
    ],
)
def test_headers_are_botocores(keys: Keys, endpoint: str) -> None:
    assert here(FORM_BODY, endpoint, REGION, keys) == botocores(FORM_BODY, endpoint, REGION, keys)


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://EC2.example:443/", "ec2.example"),
        ("https://ec2.example:80", "ec2.example:80"),
        ("http://ec2.example:80", "ec2.example"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_host_lacks_the_usual_port(endpoint: str, host: str) -> None:
    assert host_of(endpoint) == host


# What a header may have: no line breaks.
HEADER = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True)
ENDPOINTS = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https"]),
    st.one_of(st.lists(LABEL, min_size=1).map(".".join), st.ip_addresses(v=6).map("[{}]".format)),
    st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format)),
)


@given(
    st.binary(),
    ENDPOINTS,
    st.from_regex(r"[a-z]{2}-[a-z]+-[0-9]", fullmatch=True),
    st.builds(Keys, HEADER, st.text(), st.one_of(st.just(""), HEADER), st.just(NEVER)),
)
def test_any_headers_are_botocores(body: bytes, endpoint: str, region: str, keys: Keys) -> None:
    assert here(body, endpoint, region, keys) == botocores(body, endpoint, region, keys)
