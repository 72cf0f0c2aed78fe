"""What NodeAttachments say of their interfaces and pools, and what is written into them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ipagent.links.node_attachments import LinkAttachment, fit_to_schema, read_attachment, status_body
from ipagent.links.plan import LinkStatus, WantedLink
from ipagent.links.pool import Pool, PoolReport, PrefixUse, read_pool
from tests.ipagent.links.pools import MAC, UP, V4, V4B

pytestmark = pytest.mark.pure

WANTED = WantedLink("n1.oam", MAC, "oam")


def attachment(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "n1.oam"},
        "spec": {"node": "n1", "network": "oam", "link": {"name": "core", "rename": "Name", "mtu": 1500}},
        "status": {"mac": MAC, "link": {"mac": MAC, "name": "ens6", "up": True, "mtu": 9001}},
        **changes,
    }


def test_an_attachment_is_read_with_what_was_reported_of_it() -> None:
    assert read_attachment(attachment()) == LinkAttachment(
        "n1.oam", WantedLink("n1.oam", MAC, "core", rename=True, mtu=1500), UP
    )


def test_an_interface_has_the_name_of_its_network_unless_another_is_said() -> None:
    found = read_attachment(attachment(spec={"node": "n1", "network": "oam"}))
    assert found is not None
    assert found.wanted == WANTED


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {}},
        {"status": None},
        {"metadata": {"name": "n1.oam", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
)
def test_an_attachment_without_an_eni_or_on_its_way_out_is_left_alone(changes: dict[str, Any]) -> None:
    assert read_attachment(attachment(**changes)) is None


def test_what_is_written_is_read_back_the_same() -> None:
    written = status_body("n1.oam", UP)
    found = read_attachment(attachment(status={"mac": MAC, **written["status"]}))
    assert found is not None
    assert found.reported == UP


def test_addresses_on_the_node_are_written_and_read_back() -> None:
    aliased = LinkStatus(MAC, "ens6", up=True, mtu=9001, host_addresses=("10.10.1.80",), name_owner="ens5")
    written = status_body("n1.oam", aliased)
    found = read_attachment(attachment(status={"mac": MAC, "address": "10.10.1.5", **written["status"]}))
    assert found is not None
    assert (found.reported, found.wanted.address) == (aliased, "10.10.1.5")


def test_a_message_fits_into_the_schema() -> None:
    long = fit_to_schema(LinkStatus(MAC, message="x" * 2000))
    assert (len(long.message), long.message[-1]) == (1024, "…")


def pool_attachment(**status: Any) -> dict[str, Any]:
    routes = [{"dst": "10.0.0.0/8"}]
    return {
        "metadata": {"name": "n1.oam"},
        "spec": {
            "node": "n1",
            "network": "oam",
            "addresses": {"families": ["IPv4"], "gateway": "None", "routes": routes},
        },
        "status": {
            "mac": MAC,
            "cidrs": ["10.10.1.0/24"],
            "prefixes": [{"prefix": V4, "state": "Active"}, {"prefix": V4B, "state": "Draining"}],
            **status,
        },
    }


def test_an_attachment_is_read_with_its_pool() -> None:
    found = read_attachment(pool_attachment())
    assert found is not None
    assert found.pool == Pool("oam", (4,), False, (("10.0.0.0/8", ""),), ("10.10.1.0/24",), (V4,), (V4, V4B))
    left = read_pool({"network": "oam"}, pool_attachment()["status"])
    assert left == Pool("oam", cidrs=("10.10.1.0/24",), known=(V4, V4B)), "nothing is handed out any more"
    assert read_pool({"network": "oam"}, {}) is None


def test_what_is_reported_of_a_pool_is_read_back_the_same() -> None:
    status = replace(UP, pool=PoolReport("/etc/x", "m", (PrefixUse(V4, 3, True), PrefixUse(V4B, 0, False))))
    written = status_body("n1.oam", status)["status"]
    found = read_attachment(pool_attachment(**written))
    assert found is not None
    assert found.reported == status
    assert "pool" not in status_body("n1.oam", UP)["status"]
