"""What a node reports of its pods, and who has which address."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ipagent.assign.addresses import Holding
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from ipagent.node.reconcile.usage import Usage, UsageAttachment, read_attachment, usage_body, usage_of

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
        ([], Usage(MAC)),
        ([pod("a", "10.0.0.5", units=(("oam", 1),))], Usage(MAC, 1, ("10.0.0.5",))),
        # Bound a moment ago: its unit is taken, and its address is yet to come.
        ([pod("a", units=(("oam", 2),))], Usage(MAC, 2)),
        ([pod("a", "10.0.0.5", units=(("sig", 1),))], Usage(MAC, 0, (), ("10.0.0.5",))),
        ([pod("a", "10.0.0.5", "2001:db8::5")], Usage(MAC, 0, (), ("10.0.0.5", "2001:db8::5"))),
        ([pod("a", "10.0.0.5", mac=OTHER)], Usage(MAC)),
        ([pod("a", "10.0.0.5", mac=OTHER, units=(("oam", 1),))], Usage(MAC, 1, ("10.0.0.5",))),
        ([pod("a", "10.0.0.5", agent=InjectedAgent.NONE)], Usage(MAC)),
        ([pod("a", "10.0.0.5", interfaces=("net2",))], Usage(MAC)),
        ([pod("a", "10.0.0.5", alive=False, units=(("oam", 1),))], Usage(MAC)),
    ],
)
def test_usage(pods: list[Pod], usage: Usage) -> None:
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
    usage = Usage(MAC, 3, ("10.0.0.5", "2001:db8::5"), ("10.0.0.6",))
    body = usage_body("n1.oam", usage)
    found = {
        "metadata": {"name": "n1.oam"},
        "spec": {"network": "oam", "reportPods": True},
        "status": {**body["status"], "mac": MAC, "eni": "eni-1"},
    }
    assert read_attachment(found) == UsageAttachment("n1.oam", "oam", "eni-1", MAC, usage)


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
