"""The interfaces of a real network namespace, as the kernel has them before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.ipagent.namespace_probe import Probe, probe
from tests.netns import Node, Pod
from tests.netns_fixtures import node  # noqa: F401 - a fixture

pytestmark = pytest.mark.netns

MAC = "02:aa:00:00:00:01"
OAM = {"attachment": "n1.oam", "mac": MAC, "name": "oam"}


class Links:
    """`ipagent links`' side of the kernel, in a pod's namespace."""

    def __init__(self, probe: Probe) -> None:
        self.ask = probe.ask

    def apply(self, *wanted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the status of the first, and the device with its MAC, None if it is not there."""
        answer = self.ask(json.dumps(wanted))
        found = [each for each in answer["devices"] if each["hardware_address"] == wanted[0]["mac"]]
        return answer["statuses"][0], found[0] if found else None


@contextmanager
def links_in(pod: Pod, *, unprivileged: bool = False) -> Iterator[Links]:
    with probe(pod, "links.links_probe", unprivileged=unprivileged) as asked:
        yield Links(asked)


def test_addresses_that_the_node_has_are_found(node: Node) -> None:  # noqa: F811
    pod = node.pod()
    pod.add_interface("ens37", mac=MAC, up=False)
    with links_in(pod) as links:
        links.apply(OAM)
        for address in ("10.10.1.5/24", "10.10.1.80/32", "2001:db8::1/128"):
            pod.add_address("ens37", address)
        assert links.ask("wait") is True
        known = {**OAM, "address": "10.10.1.5"}
        status, device = links.apply({**known, "ipv6_addresses": ["2001:db8::1"]})
        assert status["host_addresses"] == ["10.10.1.80"]
        assert device is not None
        assert sorted(device["addresses"]) == ["10.10.1.5", "10.10.1.80", "2001:db8::1"]
        # An IPv6 address alone is an event, too.
        pod.add_address("ens37", "2001:db8::2/128")
        assert links.ask("wait") is True
        status, _ = links.apply({**known, "ipv6_addresses": ["2001:db8::1"]})
        assert sorted(status["host_addresses"]) == ["10.10.1.80", "2001:db8::2"]


def test_an_eni_is_named_given_its_mtu_and_set_up(node: Node) -> None:  # noqa: F811
    pod = node.pod()
    pod.add_interface("ens37", mac=MAC, up=False)
    with links_in(pod) as links:
        status, device = links.apply({**OAM, "mtu": 1400})
        said: dict[str, Any] = {"message": "", "pool": None, "host_addresses": [], "name_owner": ""}
        assert status == {"mac": MAC, "name": "ens37", "up": True, "mtu": 1400, **said}
        assert device is not None
        assert (device["name"], device["altnames"], device["up"]) == ("ens37", ["oam"], True)
        _, device = links.apply({**OAM, "name": "core", "former": "oam"})
        assert device is not None
        assert device["altnames"] == ["core"]


def test_an_eni_that_is_down_is_renamed(node: Node) -> None:  # noqa: F811
    pod = node.pod()
    pod.add_interface("ens37", mac=MAC, up=False)
    with links_in(pod) as links:
        status, device = links.apply({**OAM, "rename": True})
        assert (status["name"], status["up"], status["message"]) == ("oam", True, "")
        assert device is not None
        assert (device["name"], device["altnames"]) == ("oam", [])


def test_an_eni_that_somebody_sets_down_or_that_comes_and_goes_is_set_up_again(node: Node) -> None:  # noqa: F811
    pod = node.pod()
    with links_in(pod) as links:
        assert links.apply(OAM)[0]["message"].startswith(f"no interface of the node has the MAC {MAC}")
        for kernel_name in ("ens37", "eth9"):
            pod.add_interface(kernel_name, mac=MAC, up=False)
            assert links.ask("wait") is True
            assert links.apply(OAM)[0]["up"] is True
            pod.set_down(kernel_name)
            assert links.ask("wait") is True
            assert links.apply(OAM)[0]["up"] is True
            pod.delete_interface(kernel_name)
            assert links.ask("wait") is True
            assert links.apply(OAM)[1] is None


def test_devices_above_an_eni_share_its_mac_and_are_left_alone(node: Node) -> None:  # noqa: F811
    pod = node.pod()
    pod.add_interface("ens37", mac=MAC, up=False)
    pod.add_own("bond0", "bridge")
    pod.set_mac("bond0", MAC)
    pod.set_down("bond0")
    with links_in(pod) as links:
        answer = links.ask(json.dumps([OAM]))
        devices = {each["name"]: each for each in answer["devices"]}
        assert devices["ens37"]["up"]
        assert devices["bond0"]["hardware_address"] == MAC
        assert not devices["bond0"]["up"]
        assert devices["bond0"]["altnames"] == []


def test_without_the_capability_the_missing_one_is_named(node: Node) -> None:  # noqa: F811
    pod = node.pod()
    pod.add_interface("ens37", mac=MAC, up=False)
    with links_in(pod, unprivileged=True) as links:
        status, device = links.apply(OAM)
        assert "the container needs the capability NET_ADMIN" in status["message"]
        assert device is not None
        assert not device["up"]
