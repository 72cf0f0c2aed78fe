"""The stand-in for the CNI plugin ipvlan, seen from pods, from the subnet and from its caller."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.nodes import ipvlan
from tests.cluster.nodes.ipvlan import FOLDERS, PluginMissingError, ipvlan_plugin
from tests.cluster.nodes.ipvlan_rig import GATEWAYS, MACS, Rig
from tests.cluster.tools.binaries import find_binary
from tests.cluster.waiting import wait_for
from tests.skipping import skip

pytestmark = pytest.mark.cluster


@pytest.fixture
def rig() -> Iterator[Rig]:
    if os.geteuid() != 0:
        skip("network namespaces of nodes need root")
    plugin = find_binary("ipvlan")
    if plugin is None:
        skip("the stand-in for ipvlan is not built: `make tools` builds it")
    ipam = next((folder for folder in FOLDERS if (folder / "host-local").exists()), None)
    if ipam is None:
        skip("no CNI plugins host-local and static: `make system` installs containernetworking-plugins")
    with Rig(plugin, ipam) as made:
        yield made


def config(last: int, **more: Any) -> dict[str, Any]:
    addresses = [{"address": f"10.10.1.{last}/24"}, {"address": f"2001:db8:1::{last}/64"}]
    routes = [{"dst": "10.10.10.48/32", "gw": GATEWAYS[0]}]
    ipam = {"type": "static", "addresses": addresses, "routes": routes}
    named = {"cniVersion": "0.3.1", "name": "multus", "type": "ipvlan", "master": "eth1", "mode": "l2"}
    return {**named, "ipam": ipam, **more}


def host_local(folder: Path, *, first: int = 80, last: int = 99) -> dict[str, Any]:
    ranges = [[{"subnet": "10.10.1.0/24", "rangeStart": f"10.10.1.{first}", "rangeEnd": f"10.10.1.{last}"}]]
    return config(0, ipam={"type": "host-local", "ranges": ranges, "dataDir": str(folder)})


def leases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("10.10.1.*"))


def reaches(rig: Rig, pod: str, address: str) -> bool:
    family = "-6" if ":" in address else "-4"
    done = rig.run(["ip", "netns", "exec", pod, "busybox", "ping", family, "-c1", "-W1", address])
    return done.returncode == 0


def test_the_pods_link_has_the_masters_mac_and_what_ipam_gave(rig: Rig) -> None:
    result = rig.add("n1", rig.pod("a"), config(81))

    assert result["interfaces"] == [{"name": "net1", "mac": MACS["n1"], "sandbox": "/run/netns/a"}]
    assert [(each["address"], each["interface"]) for each in result["ips"]] == [
        ("10.10.1.81/24", 0),
        ("2001:db8:1::81/64", 0),
    ]
    # The kernel updates the operational state in the background (net/core/link_watch.c).
    wait_for(lambda: rig.links("a")["net1"]["operstate"] == "UP", "state UP of net1")
    net1 = rig.links("a")["net1"]
    assert (net1["address"], net1["mtu"]) == (MACS["n1"], 1500)
    held = {f"{each['local']}/{each['prefixlen']}" for each in net1["addr_info"] if each["scope"] == "global"}
    assert held == {"10.10.1.81/24", "2001:db8:1::81/64"}
    assert f"10.10.10.48 via {GATEWAYS[0]} dev net1" in rig("ip route", inside="a")
    assert "net1" not in rig.links("n1")


def test_pods_reach_each_other_and_the_subnet_whatever_node_they_are_on(rig: Rig) -> None:
    places = {"a": ("n1", 81), "b": ("n1", 82), "c": ("n2", 83)}
    for pod, (node, last) in places.items():
        rig.add(node, rig.pod(pod), config(last))

    for family in ("10.10.1.{}", "2001:db8:1::{}"):
        for here, there in itertools.permutations(places, 2):
            address = family.format(places[there][1])
            # An IPv6 address is not used before the second in which its duplicates are looked for is over.
            assert wait_for(lambda: reaches(rig, here, address), f"{here} to {address}")  # noqa: B023 - called at once
    for pod, gateway in itertools.product(places, GATEWAYS):
        assert wait_for(lambda: reaches(rig, pod, gateway), f"{pod} to {gateway}")  # noqa: B023 - called at once


def test_the_subnet_sees_no_other_mac_than_the_enis(rig: Rig) -> None:
    for pod, last in (("a", 81), ("b", 82)):
        rig.add("n1", rig.pod(pod), config(last))
        assert wait_for(lambda: reaches(rig, pod, GATEWAYS[1]), "answer")  # noqa: B023 - called at once

    learnt = json.loads(rig("bridge -json fdb show br subnet dynamic"))

    assert {entry["mac"] for entry in learnt if entry["ifname"] == "n1"} == {MACS["n1"]}


def test_an_address_that_is_added_in_the_pod_is_reached(rig: Rig) -> None:
    rig.add("n1", rig.pod("a"), config(81))
    rig.add("n2", rig.pod("b"), config(82))
    assert not reaches(rig, "b", "10.10.1.99")

    rig("ip addr add 10.10.1.99/24 dev net1", inside="a")

    assert wait_for(lambda: reaches(rig, "b", "10.10.1.99"), "answer")


def test_del_gives_the_address_back_and_may_be_repeated(rig: Rig, tmp_path: Path) -> None:
    rig.add("n1", rig.pod("a"), host_local(tmp_path))
    assert leases(tmp_path) == ["10.10.1.80"]

    for _ in range(2):
        assert rig.cni("DEL", "n1", "a", host_local(tmp_path)).returncode == 0
        assert leases(tmp_path) == []
        assert set(rig.links("a")) == {"lo"}
    rig("ip netns delete a")
    assert rig.cni("DEL", "n1", "a", host_local(tmp_path)).returncode == 0


def test_a_failed_add_leaves_no_link(rig: Rig, tmp_path: Path) -> None:
    full = host_local(tmp_path, first=80, last=80)
    rig.add("n1", rig.pod("a"), full)
    before = set(rig.links("n1"))

    done = rig.cni("ADD", "n1", rig.pod("b"), full)

    assert done.returncode != 0
    assert "no IP addresses available" in json.loads(done.stdout)["msg"]
    assert set(rig.links("b")) == {"lo"}
    assert set(rig.links("n1")) == before


def test_an_address_that_cannot_be_set_is_given_back(rig: Rig, tmp_path: Path) -> None:
    pod = rig.pod("a")
    unreachable = host_local(tmp_path)
    unreachable["ipam"]["routes"] = [{"dst": "10.20.0.0/16", "gw": "192.0.2.1"}]

    done = rig.cni("ADD", "n1", pod, unreachable)

    assert done.returncode != 0
    assert leases(tmp_path) == []
    assert set(rig.links(pod)) == {"lo"}


def test_many_pods_at_once_share_one_hub(rig: Rig, tmp_path: Path) -> None:
    pods = [rig.pod(f"p{index}") for index in range(12)]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda pod: rig.add("n1", pod, host_local(tmp_path)), pods))

    addresses = [result["ips"][0]["address"].partition("/")[0] for result in results]
    assert len(set(addresses)) == len(pods)
    assert len([name for name in rig.links("n1") if name.startswith("ivhub")]) == 1
    assert all(wait_for(lambda: reaches(rig, pods[0], address), address) for address in addresses)  # noqa: B023 - called at once


def test_a_half_made_hub_is_completed(rig: Rig) -> None:
    rig.add("n1", rig.pod("a"), config(81))
    (hub,) = (name for name in rig.links("n1") if name.startswith("ivhub"))
    rig(f"ip -n n1 link set {hub} down")

    rig.add("n1", rig.pod("b"), config(82))

    assert wait_for(lambda: reaches(rig, "b", GATEWAYS[0]), "answer")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("true", ""),
        ("ip -n a link set net1 address 02:aa:00:00:00:99", "MAC address 02:aa:00:00:00:99"),
        ("ip -n a addr delete 10.10.1.81/24 dev net1", "10.10.1.81"),
        ("ip -n a route delete 10.10.10.48", "10.10.10.48"),
        ("ip -n a link delete net1", "net1"),
        ("ip -n n1 link delete eth1", "eth1"),
    ],
)
def test_check_names_what_has_changed(rig: Rig, spoil: str, says: str) -> None:
    asked = config(81, cniVersion="0.4.0")
    previous = rig.add("n1", rig.pod("a"), asked)
    rig(spoil)

    done = rig.cni("CHECK", "n1", "a", {**asked, "prevResult": previous})

    assert (done.returncode == 0) is (not says), done.stdout
    assert says in done.stdout


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"mode": "l3"}, "mode l2 alone"),
        ({"master": "eth9"}, "eth9"),
        ({"master": ""}, "needs a master"),
        ({"ipam": {}}, "needs an IPAM plugin"),
    ],
)
def test_an_unsupported_configuration_is_refused(rig: Rig, more: dict[str, Any], says: str) -> None:
    done = rig.cni("ADD", "n1", rig.pod("a"), config(81, **more))

    assert done.returncode != 0
    assert says in json.loads(done.stdout)["msg"]
    assert set(rig.links("a")) == {"lo"}


def test_a_kernel_with_ipvlan_gets_the_standard_plugin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ipvlan, "kernel_has_ipvlan", lambda: True)
    with pytest.raises(PluginMissingError, match="containernetworking-plugins"):
        ipvlan_plugin([tmp_path])

    (tmp_path / "ipvlan").touch()

    assert ipvlan_plugin([tmp_path / "nowhere", tmp_path]) == tmp_path / "ipvlan"


def test_a_kernel_without_ipvlan_gets_the_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ipvlan, "kernel_has_ipvlan", lambda: False)
    monkeypatch.setattr(ipvlan, "find_binary", lambda _: None)
    with pytest.raises(PluginMissingError, match="make tools"):
        ipvlan_plugin([tmp_path])

    monkeypatch.setattr(ipvlan, "find_binary", lambda name: tmp_path / name)

    assert ipvlan_plugin([tmp_path]) == tmp_path / "ipvlan"
