"""Nodes and pods as far as a CNI plugin sees them: network namespaces, and a subnet between the nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DIE_WITH_PARENT = Path(__file__).parents[1] / "die_with_parent.py"
MACS = {"n1": "02:aa:00:00:00:01", "n2": "02:aa:00:00:00:02"}
"""Of the nodes' ENIs: eth1 of each."""
GATEWAYS = ("10.10.1.1", "2001:db8:1::1")
"""Of the subnet, which is a bridge."""
_HOLDER = "mount -t tmpfs tmpfs /run && mkdir /run/netns && echo ready && exec sleep infinity"

Completed = subprocess.CompletedProcess[str]


class Rig:
    """Everything of it ends with it, and with the process that made it."""

    def __init__(self, plugin: Path, ipam: Path) -> None:
        self._plugin = plugin
        self._ipam = ipam
        argv = ["/usr/bin/unshare", "--net", "--mount", "sh", "-c", _HOLDER]
        self._holder = subprocess.Popen(
            [sys.executable, str(DIE_WITH_PARENT), str(os.getpid()), *argv], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        self("ip link set lo up")
        self("ip link add subnet type bridge mcast_snooping 0")
        self(f"ip addr add {GATEWAYS[0]}/24 dev subnet")
        self(f"ip -6 addr add {GATEWAYS[1]}/64 dev subnet nodad")
        self("ip link set subnet up")
        for node, mac in MACS.items():
            self(f"ip netns add {node}")
            self(f"ip link add {node} master subnet up type veth peer address {mac} name eth1 netns {node}")
            self(f"ip -n {node} link set eth1 up")
            # As kubelet wants it; the plugin must not make a router of the node.
            self("sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'", inside=node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.communicate()

    def __call__(self, command: str, *, inside: str = "") -> str:
        """Run a shell command, on a node or in a pod where `inside` names one, and return what it prints."""
        within = ["ip", "netns", "exec", inside] if inside else []
        done = self.run([*within, "sh", "-c", f"exec {command}"])
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
    ) -> Completed:
        """Run a program in the namespaces of the rig."""
        return subprocess.run(
            ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", *argv],
            input=stdin,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def pod(self, name: str) -> str:
        """Make a pod's network namespace, with nothing but lo; return its name."""
        self(f"ip netns add {name}")
        self(f"ip -n {name} link set lo up")
        return name

    def cni(self, command: str, node: str, pod: str, config: Mapping[str, Any]) -> Completed:
        """Call the plugin on a node as Multus does."""
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "net1",
            "CNI_PATH": str(self._ipam),
        }
        return self.run(["ip", "netns", "exec", node, str(self._plugin)], env=env, stdin=json.dumps(config))

    def add(self, node: str, pod: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Add net1 to a pod and return the plugin's result. Raises AssertionError."""
        done = self.cni("ADD", node, pod, config)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def links(self, where: str) -> dict[str, dict[str, Any]]:
        """What `ip addr` shows of a node or pod, by the interface's name."""
        found = json.loads(self(f"ip -json -n {where} addr"))
        return {link["ifname"]: link for link in found}
