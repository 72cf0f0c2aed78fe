"""How many units of which networks a pod requests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.pod_keys import UNITS
from webhook.core.annotations import Refusal, read_annotations
from webhook.core.requested_units import CapacityRequest, Units, parse_units, request_capacity
from webhook.multus.networks import parse_networks

pytestmark = pytest.mark.pure

NETWORKS = {"apps/oam-a": "oam", "apps/oam-b": "oam", "apps/sig": "sig", "core/oam-a": "sig"}


def requested(annotation: str, units: str | None = None, managed: tuple[str, ...] | None = None) -> Any:
    attachments = parse_networks(annotation, "apps").networks
    names = tuple(each.interface for each in attachments) if managed is None else managed
    return request_capacity(attachments, names, parse_units(units) if units else None, NETWORKS)


@pytest.mark.parametrize(
    ("annotation", "units", "expected"),
    [
        ("oam-a", None, {"oam": 1}),
        ("oam-a,oam-b", None, {"oam": 2}),
        ("oam-a,oam-a", None, {"oam": 2}),
        ("oam-a,sig,other", None, {"oam": 1, "sig": 1}),
        ("core/oam-a", None, {"sig": 1}),
        ("other", None, {}),
        ("oam-a", "2", {"oam": 3}),
        ("oam-a,oam-b,other", "2", {"oam": 4}),
        ("oam-a,sig", "sig=2", {"oam": 1, "sig": 3}),
        ("oam-a,sig", "oam=1,sig=2,oam=1", {"oam": 3, "sig": 3}),
    ],
)
def test_a_unit_for_each_attachment_and_more_by_annotation(
    annotation: str, units: str | None, expected: dict[str, int]
) -> None:
    found = requested(annotation, units)
    assert dict(found.units) == expected
    assert found.resources == {f"multus-eni.io/{name}": str(number) for name, number in expected.items()}
    assert not found.problem
    assert found.warnings == ()


def test_definitions_in_no_network_are_named() -> None:
    assert requested("other,oam-a,ns/else,other@x1").unmapped == ("apps/other", "ns/else")


def test_interfaces_that_the_agent_leaves_alone_need_no_address() -> None:
    assert dict(requested("oam-a,sig", managed=("net2",)).units) == {"sig": 1}


@pytest.mark.parametrize(
    ("annotation", "managed", "expected"),
    [
        ("oam-a", ("net2",), {"oam": 1}),
        ("oam-a,sig", ("net2", "net3"), {"oam": 1, "sig": 1}),
        ("oam-a,other", ("net2", "net3"), {"oam": 1}),
        ("oam-a,sig@sig0", ("sig0", "net2"), {"oam": 1, "sig": 1}),
    ],
)
def test_if_multus_names_interfaces_otherwise_all_need_an_address(
    annotation: str, managed: tuple[str, ...], expected: dict[str, int]
) -> None:
    """With one of Multus' defaultNetworks the first network of the annotation is net2."""
    found = requested(annotation, managed=managed)
    assert dict(found.units) == expected
    assert found.warnings == ()


def test_units_are_added_whatever_the_interface_is_named() -> None:
    found = requested("oam-a", "2", ("net2",))
    assert (dict(found.units), found.warnings) == ({"oam": 3}, ())


def test_a_number_among_several_networks_is_refused_with_what_to_write() -> None:
    assert requested("oam-a,sig", "2").problem == (
        "multus-eni.io/units: the pod attaches to the networks oam, sig: say how many of which, as in oam=2"
    )


@pytest.mark.parametrize("units", ["2", "sig=2"])
def test_units_without_their_network_are_warned_of(units: str) -> None:
    found = requested("other" if units == "2" else "oam-a", units)
    (warning,) = found.warnings
    assert warning.startswith("multus-eni: multus-eni.io/units: no attachment of this pod belongs to")
    assert not found.problem


def test_without_capacity_nothing_is_requested_and_units_are_warned_of() -> None:
    attachments = parse_networks("oam-a", "apps").networks
    assert request_capacity(attachments, ("net1",), None, None) == CapacityRequest()
    (warning,) = request_capacity(attachments, ("net1",), Units(2), None).warnings
    assert "capacity.enabled is off" in warning


@pytest.mark.parametrize(
    "text", ["0", "1000", "-1", "", " 2", "oam", "oam=", "oam=0", "Oam=1", "a.b=1", "oam=1,"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(
        Refusal, match="allowed: a number from 1 to 999, or numbers by network, as in 2 or oam=2"
    ):
        read_annotations({UNITS: text})


@given(st.text(alphabet="oam=,0129-", max_size=20))
def test_what_is_read_is_within_bounds(text: str) -> None:
    try:
        found = parse_units(text)
    except ValueError:
        return
    assert bool(found.number) != bool(found.by_network)
    assert all(1 <= number <= 999 for number in (found.number or 1, *(n for _, n in found.by_network)))
