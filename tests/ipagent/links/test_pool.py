"""The CNI configuration of a network of prefixes, the files that it is written to, and what is reported."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipagent.links import cni_files
from ipagent.links.cni_config import configuration
from ipagent.links.cni_files import NOT_MOUNTED, CniFiles
from ipagent.links.node_attachments import read_attachment, status_body
from ipagent.links.plan import Status
from ipagent.links.pool import (
    Pool,
    PoolStatus,
    Use,
    read_pool,
    uses,
    worth_reporting,
)
from ipagent.log import Log

pytestmark = pytest.mark.pure

MAC = "02:aa:00:00:00:01"
UP = Status(MAC, "ens6", up=True, mtu=9001)
V4, V4B, V6 = "10.10.1.16/28", "10.10.1.64/28", "2001:db8:10:1:7::/80"
POOL = Pool("oam", (4,), cidrs=("10.10.1.0/24", "2001:db8:10:1::/64"), active=(V4,), known=(V4,))


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def files(tmp_path: Path) -> CniFiles:
    (tmp_path / "net.d").mkdir()
    (tmp_path / "run").mkdir()
    return CniFiles(tmp_path / "net.d", Clock(), Log(stream=io.StringIO()), tmp_path / "run" / "cni")


def reserve(files: CniFiles, *addresses: str) -> None:
    folder = files.data / "oam"
    folder.mkdir(parents=True, exist_ok=True)
    for each in (*addresses, "lock", "last_reserved_ip.0"):
        (folder / each).write_text("container\r\nnet1")


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


LONE = ("10.10.1.7/32", "10.10.1.8/32", "10.10.1.200/32", "2001:db8:10:1::77/128")


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


def test_a_single_address_is_one_that_is_free_or_used() -> None:
    pool = replace(POOL, active=LONE[:3], known=LONE)
    found = PoolStatus("f", "", uses(pool, ["10.10.1.8", "lock"], offered=True))
    assert [each.used for each in found.uses] == [0, 1, 0, 0]
    assert found.free == 2


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


def attachment(**status: Any) -> dict[str, Any]:
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
    found = read_attachment(attachment())
    assert found is not None
    assert found.pool == Pool("oam", (4,), False, (("10.0.0.0/8", ""),), ("10.10.1.0/24",), (V4,), (V4, V4B))
    left = read_pool({"network": "oam"}, attachment()["status"])
    assert left == Pool("oam", cidrs=("10.10.1.0/24",), known=(V4, V4B)), "nothing is handed out any more"
    assert read_pool({"network": "oam"}, {}) is None


def test_what_is_reported_of_a_pool_is_read_back_the_same() -> None:
    status = replace(UP, pool=PoolStatus("/etc/x", "m", (Use(V4, 3, True), Use(V4B, 0, False))))
    written = status_body("n1.oam", status)["status"]
    found = read_attachment(attachment(**written))
    assert found is not None
    assert found.reported == status
    assert "pool" not in status_body("n1.oam", UP)["status"]


def test_a_prefixs_use_is_that_of_host_locals_files(files: CniFiles) -> None:
    reserve(files, "10.10.1.16", "10.10.1.31", "10.10.1.64", "2001:db8:10:1:7::1", "10.10.1.200")
    names = files.reserved("oam")
    assert names is not None
    pool = replace(POOL, active=(V4, V6), known=(V4, V4B, V6))
    assert uses(pool, names, offered=True) == (Use(V4, 2, True), Use(V4B, 1, False), Use(V6, 1, True))


def test_a_configuration_is_written_once_and_goes_with_its_network(files: CniFiles) -> None:
    assert files.folder is not None
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    path = files.folder / "99-multus-eni-oam.conflist"
    assert status == PoolStatus(str(path), "", (Use(V4, 0, True),))
    assert json.loads(path.read_text())["name"] == "oam"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    written = path.stat().st_ino
    files.apply({"n1.oam": (POOL, UP)})
    assert path.stat().st_ino == written
    files.apply({"n1.oam": (replace(POOL, active=(V4, V4B), known=(V4, V4B)), UP)})
    assert len(json.loads(path.read_text())["plugins"][0]["ipam"]["ranges"][0]) == 2
    other = files.folder / "00-multus.conf"
    other.write_text("{}")
    # The network goes back to single addresses, and its NodeAttachment at last.
    files.apply({"n1.oam": (replace(POOL, families=(), active=()), UP)})
    assert [each.name for each in files.folder.iterdir()] == ["00-multus.conf"]
    files.apply({"n1.oam": (POOL, UP)})
    files.apply({})
    assert [each.name for each in files.folder.iterdir()] == ["00-multus.conf"]


def test_an_interface_that_is_away_takes_the_configuration_along(files: CniFiles) -> None:
    files.apply({"n1.oam": (POOL, UP)})
    reserve(files, "10.10.1.16")
    status = files.apply({"n1.oam": (POOL, Status(MAC))})["n1.oam"]
    assert files.folder is not None
    assert not list(files.folder.iterdir())
    assert status == PoolStatus("", "", (Use(V4, 1, False),))


def test_in_the_runtimes_folder_it_waits_for_the_clusters_own_network(
    files: CniFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.folder is not None
    monkeypatch.setattr(cni_files, "RUNTIME_FOLDER", files.folder)
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    assert "has no other network yet" in status.message
    assert status.uses == (Use(V4, 0, False),)
    assert not list(files.folder.iterdir())
    (files.folder / "10-aws.conflist").write_text("{}")
    assert files.apply({"n1.oam": (POOL, UP)})["n1.oam"].message == ""


def test_what_can_not_be_written_is_said(files: CniFiles) -> None:
    files.folder = Path("/proc/none")
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    assert "99-multus-eni-oam.conflist can't be written" in status.message
    assert status.uses == (Use(V4, 0, False),)


def test_where_it_is_not_known_what_pods_have_nothing_is_said_of_prefixes(files: CniFiles) -> None:
    reserve(files, "10.10.1.16")
    files.data = files.data.parent / "none" / "cni"
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    assert status.uses == ()
    assert "can't be read" in status.message
    files.folder = None
    assert files.apply({"n1.oam": (POOL, UP)})["n1.oam"] == PoolStatus("", NOT_MOUNTED)


def test_not_each_pod_is_a_report(files: CniFiles) -> None:
    pool = replace(POOL, active=(V4, V4B), known=(V4, V4B))

    def used(*addresses: int) -> list[int]:
        reserve(files, *(f"10.10.1.{each}" for each in addresses))
        return [use.used for use in files.apply({"n1.oam": (pool, UP)})["n1.oam"].uses]

    assert used() == [0, 0]
    assert used(16) == [1, 0], "the first pod of a prefix"
    assert used(17, 18) == [1, 0]
    assert files.retry_in() == 30
    files.clock.now += 31  # type: ignore[attr-defined] # Clock
    assert used() == [3, 0]
    assert files.retry_in() is None
    files.clock.now += 3600  # type: ignore[attr-defined] # Clock
    assert used() == [3, 0]
    assert files.retry_in() is None, "nothing is put off: only a change makes more to do"
    assert used(*range(19, 32), 64) == [16, 1], "few are left"
    assert used(65) == [16, 2]


@pytest.mark.parametrize(
    ("before", "now", "worth"),
    [
        (PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 1, True))),) * 2 + (False,),
        (PoolStatus("f", "", (Use(V6, 2, True),)), PoolStatus("f", "m", (Use(V6, 2, True),)), True),
        (
            PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 1, True))),
            PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 0, True))),
            True,
        ),
        (
            PoolStatus("f", "", (Use(V4, 2, True), Use(V4B, 1, True))),
            PoolStatus("f", "", (Use(V4, 3, True), Use(V4B, 1, True))),
            False,
        ),
        (PoolStatus("f", "", (Use(V4, 2, True),)), PoolStatus("f", "", (Use(V4, 3, True),)), True),
    ],
)
def test_what_changes_a_decision_is_reported_at_once(
    before: PoolStatus, now: PoolStatus, worth: bool
) -> None:
    assert worth_reporting(before, now) is worth
