"""Pods and claims of the tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common.agent_settings import Mode
from ipagent.assign.addresses import Detection, Holding, Link, LinkAddress, Snapshot, parse_address
from ipagent.node.model.claim import Claim
from ipagent.node.model.pod import Pod, PodKey

MAC_0, MAC_1, MAC_2 = (f"02:00:00:00:01:{device:02x}" for device in range(3))
"""Of the ENIs of the first node of `account.Account`."""
NAMES = ("eth0", "net1", "net2")
LINKS = (
    Link(1, "lo", "", loopback=True),
    Link(2, "eth0", "0a:00:00:00:00:02"),
    Link(3, "net1", MAC_1),
    Link(4, "net2", MAC_2),
)
_INDEX = {link.name: link.index for link in LINKS}


def key(name: str = "pod-1", namespace: str = "apps") -> PodKey:
    return PodKey(namespace, name, f"uid-of-{name}")


def holding(address: str, interface: str = "net1", mac: str | None = None) -> Holding:
    known = {"net1": MAC_1, "net2": MAC_2}
    return Holding(interface, known.get(interface, "") if mac is None else mac, parse_address(address))


def pod(name: str = "pod-1", *addresses: str, namespace: str = "apps", **more: Any) -> Pod:
    """Make a pod whose network-status names these addresses on net1."""
    holdings = more.pop("holdings", tuple(map(holding, addresses)))
    return Pod(key(name, namespace), more.pop("alive", True), holdings=holdings, **more)


def claim(
    name: str = "pod-1",
    *addresses: str,
    namespace: str = "apps",
    mode: Mode = Mode.SIDECAR,
    detections: Iterable[tuple[str, Detection]] = (),
    **more: Any,
) -> Claim:
    """Make the claim of a pod that has these addresses on net1; those on net2 begin with 10.2."""
    states = dict(detections)
    entries = tuple(
        LinkAddress(
            _INDEX["net2" if each.startswith("10.2.") else "net1"],
            parse_address(each),
            detection=states.get(each, Detection.DONE),
        )
        for each in addresses
    )
    interfaces = more.pop("interfaces", ("net1", "net2"))
    links = more.pop("links", LINKS)
    return Claim(key(name, namespace), mode, Snapshot(links, entries), interfaces, **more)
