"""Whatever users write into annotations and networks of their own, `multus-eni check` goes on to the next."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check.model import Resource
from check.net_attach_defs import attached_addresses, read_network

pytestmark = pytest.mark.pure

STATUS = "k8s.v1.cni.cncf.io/network-status"
DEEP = "[" * 300 + "]" * 300
"""Nested lists where a text belongs."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "name",
    "interface",
    "ips",
    "default",
    "type",
    "master",
    "ipam",
    "plugins",
    "range",
    "subnet",
    "ranges",
    "ipRanges",
    "range_start",
    "rangeEnd",
    "network_name",
    "enable_overlapping_ranges",
]
NAMED = st.dictionaries(
    st.sampled_from(KEYS),
    VALUES | st.sampled_from(["whereabouts", "host-local", "10.0.0.0/24", "::/0", "10.0.0.9-10.0.0.1"]),
)


def network(config: Any) -> Resource:
    metadata = {"namespace": "apps", "name": "oam"}
    return Resource("NetworkAttachmentDefinition", "apps", "oam", {}, {}, {"metadata": metadata, **config})


@given(st.lists(NAMED | VALUES, max_size=3))
def test_any_network_status_is_read(entries: list[Any]) -> None:
    for _, address in attached_addresses({STATUS: json.dumps(entries)}):
        assert address.version in (4, 6)


@given(NAMED, NAMED)
def test_any_configuration_of_a_network_is_read(config: dict[str, Any], ipam: dict[str, Any]) -> None:
    text = json.dumps({"type": "ipvlan", **config, "ipam": ipam})
    found = read_network(network({"spec": {"config": text}}))
    assert found.problem or all(isinstance(each, str) for each in (found.master, *found.allocator))


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('[{"name":[],"default":true}]', []),
        ('[{"name":{},"ips":["10.0.0.1"]}]', ["10.0.0.1"]),
        (f'[{{"interface":{DEEP},"ips":[{DEEP},"10.0.0.1"]}}]', ["10.0.0.1"]),
        ("[" * 100_000, []),
        ('[{"ips":[' + "1" * 5000 + "]}]", []),
        ('[{"name":"a","name":["b"],"default":true}]', []),
    ],
)
def test_values_of_other_types_count_as_missing(text: str, addresses: list[str]) -> None:
    assert [str(address) for _, address in attached_addresses({STATUS: text})] == addresses


def test_a_deep_value_of_a_network_is_left_out() -> None:
    text = f'{{"type":"ipvlan","master":{DEEP},"name":{DEEP},"ipam":{{"type":"host-local","subnet":{DEEP}}}}}'
    found = read_network(network({"spec": {"config": text}}))
    assert found.problem
