"""The annotation multus-eni.io/eip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.elastic_ips import MAX_CLAIMS, EipClaim, parse_claims

pytestmark = pytest.mark.pure

ONE, OTHER = "eipalloc-0a1b2c3d", "eipalloc-0123456789abcdef0"


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("net1=pool/sip", (EipClaim("net1", pool="sip"),)),
        (f"net1={ONE}", (EipClaim("net1", allocation=ONE),)),
        (
            f" net1 = pool/sip ,, rtp-0={OTHER}",
            (EipClaim("net1", "sip"), EipClaim("rtp-0", allocation=OTHER)),
        ),
        ("10.10.1.200=pool/a.b-c", (EipClaim("10.10.1.200", pool="a.b-c"),)),
        ("net1=pool/sip,net2=pool/sip", (EipClaim("net1", "sip"), EipClaim("net2", "sip"))),
    ],
)
def test_what_is_allowed(text: str, claims: tuple[EipClaim, ...]) -> None:
    assert parse_claims(text) == claims


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names 0 Elastic IPs"),
        (" , ", "names 0 Elastic IPs"),
        ("net1", "'' is neither pool/NAME nor eipalloc"),
        ("net1=sip", "'sip' is neither pool/NAME nor eipalloc"),
        ("net1=pool/", "'pool/' is neither"),
        ("net1=pool/Sip", "'pool/Sip' is neither"),
        ("net1=eipalloc-12", "'eipalloc-12' is neither"),
        ("net1=198.51.100.1", "'198.51.100.1' is neither"),
        ("=pool/sip", "'' is neither a Multus interface nor"),
        ("eth0=pool/sip", "'eth0' is neither a Multus interface nor"),
        ("10.10.1.256=pool/sip", "'10.10.1.256' is neither a Multus interface nor"),
        ("2001:db8::1=pool/sip", "'2001:db8::1' is neither a Multus interface nor"),
        ("a-name-that-is-too-long=pool/sip", "is neither a Multus interface nor"),
        ("net1=pool/a,net1=pool/b", "names an interface or address twice"),
        (f"net1={ONE},net2={ONE}", "names an allocation twice"),
        (",".join(f"n{number}=pool/sip" for number in range(MAX_CLAIMS + 1)), "names 17 Elastic IPs"),
        ("net1=pool/sip," * 200, "more than 2048 characters"),
    ],
)
def test_what_is_not(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_claims(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_short_sentence(text: str) -> None:
    said = ""
    claims: tuple[EipClaim, ...] = ()
    try:
        claims = parse_claims(text)
    except ValueError as error:
        said = str(error)
    assert bool(said) is not bool(claims)
    assert len(said) < 300
    if claims:
        assert parse_claims(",".join(f"{each.target}={each.wanted}" for each in claims)) == claims
