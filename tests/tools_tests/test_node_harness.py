"""The parts of the harness that need no cluster: names, cgroups, plugins, worlds, and carried connections."""

from __future__ import annotations

import lzma
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.nodes import cgroups, cni, configs, stale_clusters, tcp_forwarder
from tests.cluster.nodes.__main__ import eni_lines
from tests.cluster.nodes.plan import IMDS, SECONDARY, NodePlan, account, world
from tests.cluster.nodes.plugger import Link, Slots, plug_line, wanted_links
from tests.cluster.nodes.scripts import node_script, outer_script, plug_in, unplug
from tests.cluster.processes import Process
from tests.doubles import load_world
from tests.doubles.control.endpoints import state_document

PLANS = (NodePlan(1), NodePlan(2, hop_limit=1))
CONTROLLERS = ("cpu", "cpuset", "memory")


def test_the_world_holds_each_node_with_an_eni_in_each_subnet() -> None:
    found = load_world(world(PLANS))
    assert [instance.hop_limit for instance in found.instances.values()] == [2, 1]
    for plan in PLANS:
        enis = found.interfaces_of(plan.instance_id)
        assert [eni.attachment.device for eni in enis if eni.attachment] == [0, 1, 2]
        assert [eni.mac for eni in enis] == [eni.mac for eni in plan.enis]
        assert [bool(eni.tags) for eni in enis] == [False, True, True]
        for address in (plan.address, str(ip_network(plan.pod_cidr)[7])):
            asking = found.instance_at(ip_address(address))
            assert asking is not None
            assert asking.id == plan.instance_id
    for subnet in SECONDARY:
        assert found.subnets[subnet.id].ipv6_cidr == ip_network(subnet.ipv6_cidr)


def test_a_network_has_a_subnet_to_be_found_by_its_tag_and_nodes_are_listed_with_their_enis() -> None:
    found = load_world(world(PLANS) | account())
    assert [each.id for each in found.subnets.values() if each.tags == {"multus": "oam"}] == [SECONDARY[1].id]
    state: Any = state_document(found, 0.0)
    assert eni_lines(state)[:2] == [
        "n1  eth0  eni-0a010000000000000  10.60.0.11",
        "n1  eth1  eni-0a010000000000001  10.10.1.11",
    ]
    created = {
        **state["interfaces"][1],
        "instance": None,
        "device": None,
        "tags": {"multus-eni.io/network": "oam"},
        "secondaries": ["10.10.1.80"],
        "ipv4_prefixes": ["10.10.1.96/28"],
    }
    state["interfaces"] = [created]
    state["elastic_ips"][0] |= {"interface": created["id"], "private": "10.10.1.80"}
    assert eni_lines(state) == [
        "-   oam   eni-0a010000000000001  10.10.1.11 10.10.1.80=198.51.100.1 10.10.1.96/28"
    ]


def test_what_is_plugged_in_is_unplugged() -> None:
    (plan, _) = PLANS
    made = re.findall(r"^link add (\S+) .* address (\S+) netns n1$", plug_in(plan), re.MULTILINE)
    assert made == [(f"n1-{eni.interface}", eni.mac) for eni in plan.enis]
    assert unplug(plan).split() == [word for name, _ in made for word in ("link", "delete", name)]
    # IFNAMSIZ of linux/if.h, with the end of the text.
    assert all(len(name) < 16 for name, _ in made)


def test_scripts_are_shell(tmp_path: Path) -> None:
    strange = tmp_path / "it's a folder"
    for script in (outer_script(PLANS), node_script(PLANS[0], PLANS, strange)):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert f"addr add {IMDS}/32 dev nodes" in outer_script(PLANS)


def test_only_a_static_node_reserves_cpus() -> None:
    plain, static = (configs.kubelet("c/n1", static_cpu=each) for each in (False, True))
    assert {key for key in static if key not in plain} == {"cpuManagerPolicy", "kubeReserved"}
    assert plain["cgroupRoot"] == "/c/n1"


def v1(root: Path) -> Path:
    """Make what a machine with cgroup v1 has, as plain folders."""
    for name in CONTROLLERS:
        (root / name).mkdir(parents=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        (root / "cpuset" / name).write_text("0-1\n", encoding="utf-8")
    (root / "unified").mkdir()
    (root / "cpu,cpuacct").symlink_to("cpu")
    return root


def v2(root: Path) -> Path:
    """Make what a machine with cgroup v2 has, as plain folders."""
    root.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpuset cpu memory rdma\n", encoding="utf-8")
    return root


def test_cgroups_are_made_in_each_tree_of_v1(tmp_path: Path) -> None:
    root = v1(tmp_path / "cgroup")
    name = cgroups.new_name()
    # The kernel makes these files with each cpuset.
    for path in (name, f"{name}/n1"):
        (root / "cpuset" / path).mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            (root / "cpuset" / path / file).write_text("", encoding="utf-8")
    cgroups.make(f"{name}/n1", root)
    assert all((root / tree / name / "n1").is_dir() for tree in CONTROLLERS)
    assert (root / "cpuset" / name / "n1" / "cpuset.cpus").read_text(encoding="utf-8") == "0-1\n"
    assert list((root / "unified").iterdir()) == []
    assert cgroups.names(root) == {name}


def test_controllers_are_handed_down_the_tree_of_v2(tmp_path: Path) -> None:
    root = v2(tmp_path / "cgroup")
    name = cgroups.new_name()
    (root / name).mkdir()
    (root / name / "cgroup.controllers").write_text("cpuset cpu memory\n", encoding="utf-8")
    cgroups.make(f"{name}/n1", root)
    for folder in (root, root / name):
        handed = (folder / "cgroup.subtree_control").read_text(encoding="utf-8")
        assert handed == "+cpu +cpuset +memory"
    assert (root / name / "n1").is_dir()


def test_cgroups_go_from_the_bottom_up_once_they_are_free(tmp_path: Path) -> None:
    root = v1(tmp_path / "cgroup")
    name = cgroups.new_name()
    (root / "unified" / name / "n1" / "pod").mkdir(parents=True)
    (root / "memory" / name / "n1").mkdir(parents=True)
    # A file holds a plain folder as a process holds a cgroup.
    busy = root / "memory" / name / "n1" / "process"
    busy.touch()
    with pytest.raises(TimeoutError, match=f"end of the processes in {name}"):
        cgroups.remove(name, root, timeout=0.05)
    busy.unlink()
    cgroups.remove(name, root)
    cgroups.remove(name, root)
    assert cgroups.names(root) == set()


def test_a_name_tells_whether_its_owner_lives() -> None:
    name = cgroups.new_name()
    assert cgroups.new_name() != name
    assert cgroups.owner_lives(name)
    prefix, namespace, pid, started, number = name.rsplit("-", 4)
    # The same number again, for another process.
    assert not cgroups.owner_lives(f"{prefix}-{namespace}-{pid}-{int(started) - 1}-{number}")
    # A container's process is not ours to judge.
    assert cgroups.owner_lives(f"{prefix}-1-{pid}-{int(started) - 1}-{number}")
    for wrong in ("multus-eni", f"{name}x", "system.slice"):
        assert not cgroups.is_name(wrong)
        with pytest.raises(ValueError, match="not a name of a cluster"):
            cgroups.owner_lives(wrong)


def test_only_what_the_dead_have_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Clusters that others run on this machine are not to be seen: they may end at any time.
    root, temporary = v1(tmp_path / "cgroup"), tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    alive = cgroups.new_name()
    prefix, namespace, pid, started, number = alive.rsplit("-", 4)
    dead, pods_only = (f"{prefix}-{namespace}-{pid}-{int(started) - back}-{number}" for back in (1, 2))
    for name in (alive, dead):
        made = Path(tempfile.mkdtemp(prefix=stale_clusters.folder_prefix(name)))
        (made / "disk").mkdir()
    for name in (alive, dead, pods_only):
        (root / "memory" / name / "n1").mkdir(parents=True)
    (temporary / "multus-eni-notes.txt").touch()
    assert stale_clusters.remove(root) == sorted([dead, pods_only])
    left = sorted(path.name.partition(".")[0] for path in temporary.iterdir())
    assert left == sorted([alive, "multus-eni-notes"])
    assert cgroups.names(root) == {alive}
    assert stale_clusters.remove(root) == []


def plugins_at(tmp_path: Path) -> dict[str, str]:
    """Make folders with all plugins, and the variables that name them."""
    standard, added = tmp_path / "standard", tmp_path / "added"
    for folder in (standard, added):
        folder.mkdir()
    for name in cni.STANDARD:
        (standard / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (standard / name).chmod(0o755)
    (added / "multus").write_text("multus", encoding="utf-8")
    (added / "whereabouts.xz").write_bytes(lzma.compress(b"#!/bin/sh\necho whereabouts\n"))
    (added / "crd.yaml").touch()
    cache = str(tmp_path / "cache")
    return {"CNI_PATH": str(standard), cni.FOLDER: str(added), "XDG_CACHE_HOME": cache}


def test_plugins_are_found_and_unpacked_once(tmp_path: Path) -> None:
    env = plugins_at(tmp_path)
    found = cni.plugins(env)
    assert set(found) == {*cni.STANDARD, *cni.ADDED}
    assert found["bridge"] == tmp_path / "standard" / "bridge"
    said = subprocess.run([found["whereabouts"]], capture_output=True, text=True, check=True).stdout
    assert said == "whereabouts\n"
    unpacked = found["whereabouts"].stat()
    assert cni.plugins(env)["whereabouts"].stat() == unpacked
    assert cni.crds(env) == [tmp_path / "added" / "crd.yaml"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("standard/bridge", r"CNI plugins not found in .*: bridge; `make system`"),
        ("added/whereabouts.xz", r"neither whereabouts nor whereabouts.xz in .*added"),
        ("added/crd.yaml", r"no CRDs of Multus and whereabouts"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, missing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni, "PLACES", ())
    env = plugins_at(tmp_path)
    (tmp_path / missing).unlink()

    def find() -> None:
        cni.plugins(env)
        cni.crds(env)

    with pytest.raises(cni.PluginsMissing, match=said):
        find()


def test_without_the_variable_its_name_is_said(tmp_path: Path) -> None:
    env = plugins_at(tmp_path)
    del env[cni.FOLDER]
    for find in (cni.plugins, cni.crds):
        with pytest.raises(cni.PluginsMissing, match="let MULTUS_ENI_CNI_DIR name a folder"):
            find(env)


@pytest.fixture
def echo() -> int:
    """A server that sends all back once its client has said all, and ends with the test."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            received = b"".join(iter(lambda: connection.recv(65536), b""))
            connection.sendall(received)

    threading.Thread(target=serve, daemon=True).start()
    port: int = listening.getsockname()[1]
    return port


@contextmanager
def carried(target: str, log: Path) -> Iterator[int]:
    """Run the process that carries connections to a target; returns the port that it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        argv = [sys.executable, "-I", "-S", tcp_forwarder.__file__, f"{number}={target}"]
        process = Process("forward", argv, log=log, pass_fds=[number]).__enter__()
        port: int = listening.getsockname()[1]
    try:
        yield port
        process.check()
    finally:
        process.kill()


def test_connections_are_carried_in_both_directions_to_their_ends(echo: int, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with (
        carried(f"127.0.0.1:{echo}", tmp_path / "log") as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as client,
    ):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: client.recv(65536), b"")) == data


def test_a_connection_to_nobody_ends_and_the_next_one_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        free = nobody.getsockname()[1]
    with carried(f"127.0.0.1:{free}", tmp_path / "log") as port:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                assert _ended(client)


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def eni(**changes: object) -> dict[str, object]:
    found: dict[str, object] = {
        "id": "eni-1",
        "status": "attached",
        "instance": "i-1",
        "mac": "02:00:00:00:00:01",
        "subnet": SECONDARY[0].id,
    }
    return found | changes


@pytest.mark.pure
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ["eni-1"]),
        ({"status": "attaching"}, []),
        ({"status": "detaching"}, []),
        ({"status": "available", "instance": None}, []),
        ({"instance": "i-of-a-node-that-is-down"}, []),
        ({"id": "eni-built-in"}, []),
    ],
)
def test_attached_enis_of_running_nodes_want_a_link(changes: dict[str, object], wanted: list[str]) -> None:
    found = wanted_links({"interfaces": [eni(**changes)]}, {"i-1": "n1"}, frozenset({"eni-built-in"}))
    assert list(found) == wanted


@pytest.mark.pure
def test_a_link_comes_after_its_delay_and_goes_with_its_attachment() -> None:
    slots = Slots(delay=2.0)
    wanted = wanted_links({"interfaces": [eni()]}, {"i-1": "n1"}, frozenset())
    assert slots.missing(wanted, 10.0) == []
    assert slots.missing(wanted, 11.9) == []
    (plug,) = slots.missing(wanted, 12.0)
    assert plug_line(plug, Link("n1", "ens7", "n1-ens7")) == (
        "link add n1-ens7 master subnet1 up type veth peer name ens7 address 02:00:00:00:00:01 netns n1\n"
    )
    slots.links["eni-1"] = Link("n1", "ens7", "n1-ens7")
    assert (slots.missing(wanted, 13.0), slots.superfluous(wanted)) == ([], [])
    elsewhere = wanted_links({"interfaces": [eni()]}, {"i-1": "n2"}, frozenset())
    assert slots.superfluous(elsewhere) == slots.superfluous({}) == ["eni-1"]
    del slots.links["eni-1"]
    assert slots.missing({}, 14.0) == slots.missing(wanted, 15.0) == []


@pytest.mark.pure
def test_a_node_may_boot_with_its_primary_interface_alone() -> None:
    plan = NodePlan(1, primary_only=True)
    found = load_world(world([plan]))
    assert [held.id for held in found.interfaces_of(plan.instance_id)] == [plan.enis[0].id]
    assert len(plan.enis) == 1
