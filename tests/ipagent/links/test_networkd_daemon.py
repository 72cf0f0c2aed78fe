"""systemd-networkd itself, in a namespace: it reads our files beside those of amazon-ec2-net-utils."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipagent.links.networkd import NetworkFiles
from ipagent.links.plan import WantedLink
from ipagent.log import Log
from tests.cluster.waiting import wait_for
from tests.netns import Node, Pod
from tests.netns_fixtures import node  # noqa: F401 - a fixture
from tests.skipping import skip

pytestmark = pytest.mark.netns

NETWORKD = Path("/lib/systemd/systemd-networkd")
USER = "systemd-network"
OAM, HOSTS = ("ens6", "02:aa:00:00:00:01", "10.10.1.80"), ("ens7", "02:aa:00:00:00:02", "10.10.2.80")
OURS = "05-multus-eni-02aa00000001.network"
BUS = """\
<busconfig>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow own="*"/><allow user="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""
SCRIPT = f"""\
set -e
# networkd does not wait for udev where /sys can't be written (systemd, udev_available).
mount -t sysfs -o ro sysfs /sys
# A bus of its own, and nothing that the machine has configured.
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd
mkdir -p /run/dbus /run/systemd/network /run/systemd/netif
mount --bind "$FILES" /run/systemd/network
chown {USER}: /run/systemd/netif
printf '%s' "$BUS" > /run/bus.conf
dbus-daemon --config-file=/run/bus.conf --nofork --nopidfile &
until test -S /run/dbus/system_bus_socket; do sleep 0.01; done
{NETWORKD} &
while read -r line; do
  until networkctl reload; do sleep 0.1; done
  echo reloaded
done
"""


@pytest.fixture(autouse=True)
def _can_run() -> None:
    """Skip the test where networkd can't be started; fail it if MULTUS_ENI_NO_SKIP is 1."""
    if os.geteuid() == 0 and NETWORKD.exists() and shutil.which("dbus-daemon"):
        return
    skip(f"needs root, {NETWORKD} and dbus-daemon: on Debian the packages systemd and dbus-daemon")


class Networkd:
    """networkd in the namespace of a pod; it reads `files`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def reload(self) -> None:
        """Have it read all files again, as amazon-ec2-net-utils does; waits until it runs."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"reload\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"reloaded\n"

    def goes_by(self, interface: str, file: str) -> bool:
        """Return whether it has found that this file is the interface's."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return any(line.startswith(f"{interface}: ") and file in line for line in lines)


@contextmanager
def networkd(pod: Pod, files: Path, log: Path) -> Iterator[Networkd]:
    files.chmod(0o755)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "FILES": str(files), "BUS": BUS}
    env["SYSTEMD_LOG_LEVEL"] = "debug"
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT]
    with log.open("wb") as written:
        process = pod.popen(argv, env=env, unprivileged=False, stdin=subprocess.PIPE, stderr=written)
    found = Networkd(process, log)
    try:
        found.reload()
        yield found
    finally:
        process.kill()


def as_ec2_net_utils(folder: Path, name: str, mac: str, address: str) -> None:
    """Write what amazon-ec2-net-utils 2.x writes of an ENI with a secondary address (its lib/lib.sh)."""
    (folder / f"70-{name}.network").write_text("[Match]\nType=ether\n", encoding="utf-8")
    drop_ins = folder / f"70-{name}.network.d"
    drop_ins.mkdir()
    eni = f"[Match]\nMACAddress={mac}\n[Network]\nDHCP=yes\n[DHCPv4]\nRouteMetric=522\n"
    (drop_ins / "eni.conf").write_text(eni, encoding="utf-8")
    alias = f"[Address]\nAddress={address}/32\nAddPrefixRoute=false\n"
    (drop_ins / "ec2net_alias.conf").write_text(alias, encoding="utf-8")


def addresses(pod: Pod, name: str) -> list[str]:
    return [each for each in pod.interfaces()[name]["addresses"] if ":" not in each]


@pytest.mark.parametrize("excluded", [True, False])
def test_networkd_gives_no_address_to_the_interface_of_a_network(
    node: Node,  # noqa: F811
    tmp_path: Path,
    excluded: bool,
) -> None:
    pod, files = node.pod(eth0=None), tmp_path / "network"
    files.mkdir()
    with networkd(pod, files, tmp_path / "log") as daemon:
        if excluded:
            NetworkFiles(files, Log()).sync([WantedLink("n1.oam", OAM[1], "oam")])
        for name, mac, address in (OAM, HOSTS):
            pod.add_interface(name, mac=mac, up=False)
            as_ec2_net_utils(files, name, mac, address)
        daemon.reload()
        wait_for(lambda: addresses(pod, HOSTS[0]) == [f"{HOSTS[2]}/32"], "the other interface's address")
        if excluded:
            wait_for(
                lambda: daemon.goes_by(OAM[0], "05-multus-eni-02aa00000001.network"), "our file in effect"
            )
            assert addresses(pod, OAM[0]) == []
        else:
            wait_for(lambda: addresses(pod, OAM[0]) == [f"{OAM[2]}/32"], "the interface's address")
