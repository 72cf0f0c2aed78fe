"""The CNI configuration of a network of prefixes, and what host-local hands out by it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipagent.links.cni_config import configuration
from ipagent.links.pool import Pool
from tests.ipagent.links.pools import LONE, POOL, V4, V4B, V6

pytestmark = pytest.mark.pure


def plugin(pool: Pool) -> dict[str, Any]:
    text = configuration(pool, "ens6", "/run/x")
    assert text is not None
    found = json.loads(text)
    assert found["name"] == "oam"
    (only,) = found["plugins"]
    assert (only["type"], only["master"], only["mode"]) == ("ipvlan", "ens6", "l2")
    assert (only["ipam"]["type"], only["ipam"]["dataDir"]) == ("host-local", "/run/x")
    return dict(only)


def test_all_sixteen_addresses_of_each_active_prefix_are_handed_out() -> None:
    pool = replace(POOL, active=(V4, V4B), known=(V4, V4B, "10.10.1.96/28"))
    assert plugin(pool)["ipam"]["ranges"] == [
        [
            {
                "subnet": "10.10.1.0/24",
                "rangeStart": "10.10.1.16",
                "rangeEnd": "10.10.1.31",
                "gateway": "10.10.1.1",
            },
            {
                "subnet": "10.10.1.0/24",
                "rangeStart": "10.10.1.64",
                "rangeEnd": "10.10.1.79",
                "gateway": "10.10.1.1",
            },
        ]
    ]
    assert "routes" not in plugin(pool)["ipam"]


def test_of_two_families_each_pod_gets_an_address_of_both() -> None:
    pool = replace(POOL, families=(4, 6), active=(V4, V6))
    ipv4, ipv6 = plugin(pool)["ipam"]["ranges"]
    assert (ipv4[0]["rangeStart"], ipv6[0]["rangeStart"]) == ("10.10.1.16", "2001:db8:10:1:7::")
    assert ipv6[0]["rangeEnd"] == "2001:db8:10:1:7:ffff:ffff:ffff"
    assert "gateway" not in ipv6[0]


def test_single_addresses_are_handed_out_by_host_local_each_once(tmp_path: Path) -> None:
    active = (LONE[0], V4, *LONE[1:])
    pool = replace(POOL, families=(4, 6), active=active, known=active)
    text = configuration(pool, "ens6", str(tmp_path))
    assert text is not None
    conf = json.loads(text)
    found = [host_local(conf, f"pod{number}") for number in range(2)]
    assert found[0].pop() == "2001:db8:10:1::77/64"
    assert "no IP addresses available" in found[1][0], "there is one IPv6 address"
    conf["plugins"][0]["ipam"]["ranges"].pop()
    given = found[0] + [host_local(conf, f"pod{number}")[0] for number in range(2, 20)]
    addresses = {f"10.10.1.{number}/24" for number in (7, 8, 200, *range(16, 32))}
    assert (set(given), len(given)) == (addresses, len(addresses))
    assert "no IP addresses available" in host_local(conf, "pod20")[0]


def host_local(conf: dict[str, Any], pod: str) -> list[str]:
    """Run the plugin for a pod; returns the addresses, or what it says is wrong."""
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod, "CNI_NETNS": "/x", "CNI_IFNAME": "net1"}
    places = os.pathsep.join(("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"))
    program = shutil.which("host-local", path=os.environ.get("CNI_PATH", places))
    assert program is not None, "install the CNI plugins: `make system`"
    one = {"cniVersion": conf["cniVersion"], "name": conf["name"], **conf["plugins"][0]}
    ended = subprocess.run(
        [program],
        input=json.dumps(one),
        env={**env, "CNI_PATH": "/x"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(ended.stdout)
    return [each["address"] for each in found["ips"]] if "ips" in found else [found["msg"]]


def test_routes_go_as_the_network_says() -> None:
    routes = (("10.0.0.0/8", ""), ("192.0.2.0/24", "10.10.1.9"))
    ipam = plugin(replace(POOL, routes=routes))["ipam"]
    assert ipam["routes"] == [{"dst": "10.0.0.0/8"}, {"dst": "192.0.2.0/24", "gw": "10.10.1.9"}]
    assert "gateway" not in plugin(replace(POOL, routes=routes, router=False))["ipam"]["ranges"][0][0]


@pytest.mark.parametrize(
    "pool",
    [
        replace(POOL, families=()),
        replace(POOL, active=()),
        replace(POOL, families=(4, 6)),
        replace(POOL, cidrs=("10.10.2.0/24",)),
    ],
    ids=["no prefixes any more", "none is active", "the second family is to come", "of another subnet"],
)
def test_without_what_it_needs_there_is_no_configuration(pool: Pool) -> None:
    assert configuration(pool, "ens6", "/run/x") is None
