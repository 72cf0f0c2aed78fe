"""What a node reports of its pods, and who has which address."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ipagent.assign.addresses import Holding
from ipagent.assign.topology import Eni
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from ipagent.node.model.pool_addresses import PoolAddresses, with_pool
from ipagent.node.reconcile.usage import (
    PodUsage,
    UsageAttachment,
    pool_of,
    read_attachment,
    usage_body,
    usage_of,
)

pytestmark = pytest.mark.pure

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
ATTACHMENT = UsageAttachment("n1.oam", "oam", "eni-1", MAC)


def pod(
    name: str,
    *addresses: str,
    mac: str = MAC,
    agent: InjectedAgent = InjectedAgent.NODE_INIT,
    alive: bool = True,
    interfaces: tuple[str, ...] = (),
    units: tuple[tuple[str, int], ...] = (),
) -> Pod:
    holdings = tuple(Holding("net1", mac, ip_address(each)) for each in addresses)
    key = PodKey("ns", name, f"uid-{name}")
    return Pod(key, alive, holdings=holdings, agent=agent, interfaces=interfaces, units=units)


@pytest.mark.parametrize(
    ("pods", "usage"),
    [
        ([], PodUsage(MAC)),
        ([pod("a", "10.0.0.5", units=(("oam", 1),))], PodUsage(MAC, 1, ("10.0.0.5",))),
        # Bound a moment ago: its unit is taken, and its address is yet to come.
        ([pod("a", units=(("oam", 2),))], PodUsage(MAC, 2)),
        ([pod("a", "10.0.0.5", units=(("sig", 1),))], PodUsage(MAC, 0, (), ("10.0.0.5",))),
        ([pod("a", "10.0.0.5", "2001:db8::5")], PodUsage(MAC, 0, (), ("10.0.0.5", "2001:db8::5"))),
        ([pod("a", "10.0.0.5", mac=OTHER)], PodUsage(MAC)),
        ([pod("a", "10.0.0.5", mac=OTHER, units=(("oam", 1),))], PodUsage(MAC, 1, ("10.0.0.5",))),
        ([pod("a", "10.0.0.5", agent=InjectedAgent.NONE)], PodUsage(MAC)),
        ([pod("a", "10.0.0.5", interfaces=("net2",))], PodUsage(MAC)),
        ([pod("a", "10.0.0.5", alive=False, units=(("oam", 1),))], PodUsage(MAC)),
    ],
)
def test_usage(pods: list[Pod], usage: PodUsage) -> None:
    assert usage_of(ATTACHMENT, pods, {}) == usage


def test_floating_addresses_belong_to_the_pods_that_claim_them() -> None:
    asking, old = pod("a", "10.0.0.5", units=(("oam", 2),)), pod("b", "10.0.0.6")
    owners = {
        ("eni-1", ip_address("10.0.0.5")): asking.key,
        ("eni-1", ip_address("10.0.0.90")): asking.key,
        ("eni-1", ip_address("10.0.0.91")): old.key,
        ("eni-2", ip_address("10.9.0.91")): old.key,
        ("eni-1", ip_address("10.0.0.92")): PodKey("ns", "gone", "uid-gone"),
    }
    found = usage_of(ATTACHMENT, [asking, old], owners)
    assert found.addresses == ("10.0.0.5", "10.0.0.90")
    # What a pod that is gone has left behind, EC2 shows.
    assert found.others == ("10.0.0.6", "10.0.0.91")


def test_what_is_written_is_read_back() -> None:
    usage = PodUsage(MAC, 3, ("10.0.0.5", "2001:db8::5"), ("10.0.0.6",))
    body = usage_body("n1.oam", usage)
    found = {
        "metadata": {"name": "n1.oam"},
        "spec": {"network": "oam", "reportPods": True},
        "status": {**body["status"], "mac": MAC, "eni": "eni-1"},
    }
    assert read_attachment(found) == UsageAttachment("n1.oam", "oam", "eni-1", MAC, usage)


def test_single_addresses_in_the_place_of_prefixes_stay_on_their_eni() -> None:
    found: dict[str, Any] = {
        "metadata": {"name": "n1.oam", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"network": "oam", "reportPods": True},
        "status": {
            "mac": MAC,
            "eni": "eni-1",
            "prefixes": [
                {"prefix": "10.0.0.16/28"},
                {"prefix": "10.0.0.5/32", "state": "Draining"},
                {"prefix": "2001:db8::5/128"},
            ],
        },
    }
    read = read_attachment(found)
    assert read is not None
    assert not read.report
    lone = frozenset((ip_address("10.0.0.5"), ip_address("2001:db8::5")))
    pool = pool_of([read, ATTACHMENT])
    assert pool == PoolAddresses(frozenset(("eni-1", each) for each in lone), {MAC: lone})
    eni = Eni("eni-1", MAC, 1, "subnet-1", prefixes=(ip_network("10.0.0.16/28"),))
    other = replace(eni, id="eni-2", mac=OTHER)
    # What IMDS does not show is not on the ENI, whatever the record says.
    shown = with_pool({MAC: eni, OTHER: other}, pool, lambda _eni, _versions: {ip_address("10.0.0.5")})
    assert shown == {
        MAC: replace(eni, prefixes=(*eni.prefixes, ip_network("10.0.0.5/32"))),
        OTHER: other,
    }
    assert with_pool({MAC: eni}, pool, lambda _eni, _versions: None) == {MAC: eni}


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": {"network": "oam"}},
        {"status": {}},
        {"metadata": {"name": "n1.oam", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
)
def test_nothing_is_reported_where_nobody_asks(changed: dict[str, object]) -> None:
    found = {
        "metadata": {"name": "n1.oam"},
        "spec": {"network": "oam", "reportPods": True},
        "status": {"mac": MAC},
    }
    assert read_attachment(found) is not None
    assert read_attachment({**found, **changed}) is None
