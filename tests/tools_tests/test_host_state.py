"""What counts as a change of the machine on which `make cluster` runs, and what is another's."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.nodes.conftest import parts  # noqa: F401 - a fixture
from tests.cluster.nodes.host import STORES, host_in
from tests.cluster.nodes.host_state import HostState, changes
from tests.cluster.nodes.parts import Parts

ROOT_MOUNT = "/dev/vda / ext4 rw 0 0"
CGROUP = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0"
OTHERS = "tmpfs /tmp/pytest-1/left\\040over tmpfs rw 0 0"


def state(*mounts: str, **settings: str) -> HostState:
    return HostState(settings, mounts)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (state(ROOT_MOUNT, OTHERS), state(ROOT_MOUNT), []),
        (state(ROOT_MOUNT, CGROUP), state(ROOT_MOUNT), [f"unmounted: {CGROUP}"]),
        (state(ROOT_MOUNT), state(ROOT_MOUNT, CGROUP), [f"mounted: {CGROUP}"]),
        # The same line once more is one more mount.
        (state(CGROUP), state(CGROUP, CGROUP), [f"mounted: {CGROUP}"]),
        (state(CGROUP, CGROUP), state(CGROUP), [f"unmounted: {CGROUP}"]),
        # Also where another's has gone at the same time.
        (state(ROOT_MOUNT, OTHERS), state(ROOT_MOUNT, CGROUP), [f"mounted: {CGROUP}"]),
        (state(forwarding="0"), state(forwarding="1"), ["forwarding: '0' has become '1'"]),
        (state(), state(ip="10.60.0.1"), ["ip: '' has become '10.60.0.1'"]),
        (state(ROOT_MOUNT, hostname="a"), state(ROOT_MOUNT, hostname="a"), []),
    ],
)
def test_each_change_of_its_own_counts_and_the_end_of_anothers_mount_does_not(
    before: HostState, after: HostState, expected: list[str]
) -> None:
    assert changes(before, after, lambda path: path != "/tmp/pytest-1/left over") == expected


@pytest.mark.cluster
def test_the_kernel_keeps_others_mounts_and_the_machines_apart(
    parts: Parts,  # noqa: ARG001, F811 - who may start a cluster may mount
    tmp_path: Path,
) -> None:
    kept, build = tmp_path / "kept", tmp_path / STORES.strip("/") / "merged"
    ended = [mounted(tmp_path / "ended by another"), mounted(build)]
    with ExitStack() as others:
        for each in (mounted(kept), *ended):
            others.enter_context(each)
        with host_in(tmp_path) as host:
            before = host.state()
            for each in ended:
                each.close()
            for folder in (build, tmp_path / "new"):
                others.enter_context(mounted(folder))
            assert host.changes_since(before) == []

            (tmp_path / "inside").mkdir()
            host.run("mount", "-t", "tmpfs", "inside", str(tmp_path / "inside"))
            host.run("umount", str(kept))
            host.run("ip", "address", "add", "10.60.0.77/32", "dev", "lo")
            found = host.changes_since(before)
    address, *_, new, gone = found
    assert (address.startswith("ip -d address: "), "10.60.0.77" in address) == (True, True)
    assert new.startswith(f"mounted: inside {tmp_path}/inside tmpfs")
    assert gone.startswith(f"unmounted: tmpfs {kept} tmpfs")


def mounted(folder: Path) -> ExitStack:
    """Mount something as a job beside the cluster does, until the stack is closed; the folder goes, too."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    stack = ExitStack()
    stack.callback(folder.rmdir)
    stack.callback(lambda: subprocess.run(["umount", folder], check=True))
    return stack
