"""What the settings document grants, and how a mistake in it is named."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.addresses import parse_address
from ipagent.node.model.grants import (
    MAX_NAMESPACES,
    NOTHING,
    Grant,
    Grants,
    read_grants,
)
from ipagent.node.model.settings_readers import MAX_CIDRS, SettingsError

pytestmark = pytest.mark.pure


def test_a_namespace_has_what_its_entry_says_and_nothing_else() -> None:
    grants = read_grants(
        {
            "apps": {"cidrs": ["10.10.1.192/28", "2001:db8:1::/64"], "takeover": True},
            "web": {},
            "*": {"cidrs": ["10.10.2.5"]},
        }
    )
    assert grants.of("apps") == Grant((ip_network("10.10.1.192/28"), ip_network("2001:db8:1::/64")), True)
    assert grants.of("web") == NOTHING
    assert grants.of("any") == Grant((ip_network("10.10.2.5/32"),))


def test_no_document_grants_nothing() -> None:
    assert read_grants(None) == Grants()
    assert read_grants({}).of("apps") == NOTHING


@pytest.mark.parametrize(
    ("address", "covered"),
    [
        ("10.10.1.192", True),
        ("10.10.1.207", True),
        ("10.10.1.208", False),
        ("2001:db8:1::5", True),
        ("2001:db8:2::5", False),
    ],
)
def test_a_grant_covers_its_cidrs(address: str, covered: bool) -> None:
    grant = read_grants({"a": {"cidrs": ["10.10.1.192/28", "2001:db8:1::/64"]}}).of("a")
    assert grant.covers(parse_address(address)) is covered


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "g: is not a mapping"),
        ({"Apps": {}}, "g: 'Apps' is neither"),
        ({"a" * 64: {}}, "g: 'aaa"),
        ({7: {}}, "g: 7 is neither"),
        ({"apps": None}, "g.apps: is not a mapping"),
        ({"apps": {"cidr": []}}, "g.apps: 'cidr' is neither"),
        ({"apps": {1: []}}, "g.apps: 1 is neither"),
        ({"apps": {"takeover": "yes"}}, "g.apps.takeover: 'yes' is neither"),
        ({"apps": {"takeover": 1}}, "g.apps.takeover: 1 is neither"),
        ({"apps": {"takeover": None}}, "g.apps.takeover: None is neither"),
        ({"apps": {"cidrs": "10.0.0.0/8"}}, "g.apps.cidrs: is not a list"),
        ({"apps": {"cidrs": None}}, "g.apps.cidrs: is not a list"),
        ({"apps": {"cidrs": ["10.0.0.0/8"] * (MAX_CIDRS + 1)}}, "g.apps.cidrs: is not a list of at most"),
        ({"apps": {"cidrs": ["10.0.0.0/8", 10]}}, "g.apps.cidrs[1]: 10 is not a CIDR"),
        ({"apps": {"cidrs": ["10.0.0.0/33"]}}, "g.apps.cidrs[0]: '10.0.0.0/33' is not a CIDR"),
        ({"apps": {"cidrs": ["10.0.0.1/8"]}}, "has host bits set"),
        ({f"n{number}": {} for number in range(MAX_NAMESPACES + 1)}, "g: more than"),
    ],
)
def test_a_mistake_is_named_with_its_key(document: Any, named: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(named)) as caught:
        read_grants(document, "g")
    assert len(str(caught.value)) < 300


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["10.0.0.0/8", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "*", "cidrs", "takeover", "B"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(documents)
def test_whatever_the_document_is_it_is_read_or_refused(document: Any) -> None:
    said = "grants"
    try:
        assert isinstance(read_grants(document).of("any"), Grant)
    except SettingsError as error:
        said = str(error)
    assert said.startswith("grants")
