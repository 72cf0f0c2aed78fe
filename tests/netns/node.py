"""Nodes and pods, as tests see them."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from tests.netns import client
from tests.netns.client import ROOT, Client
from tests.netns.namespace import Completed, Namespace, Stream
from tests.netns.rights import NamespacesForbidden

IMDS = "169.254.169.254"
"""Where the instance metadata service answers; every node carries it on `lo`."""

GATEWAY = {4: "169.254.1.1", 6: "fe80::1"}
"""A pod's default gateway by IP version: those that the Amazon VPC CNI gives to pods."""


class Pod(Namespace):
    """A pod's network namespace: made by `Node.pod`, gone with its node at the latest."""

    def __init__(self, node: Node, holder: Client, user: int | None) -> None:
        super().__init__(holder, user)
        self._node = node

    def add_interface(
        self, name: str, *, mac: str | None = None, addresses: Sequence[str] = (), up: bool = True
    ) -> None:
        """Attach an interface as Multus does: ipvlan gives it the MAC of its ENI, macvlan another one.

        It is one end of a veth pair whose other end is on the node. Without `mac` the kernel chooses one.
        """
        self._node._attach(name, self._holder.pid, mac)  # noqa: SLF001 - node and pod are one module
        if up:
            self.set_up(name)
        for address in addresses:
            self.add_address(name, address)

    def add_above(self, name: str, lower: str, *, kind: str = "macvlan", mac: str | None = None) -> None:
        """Create a device above an interface of the pod, as keepalived's `use_vmac` does; raises OSError."""
        self._holder.call("add_above", name=name, lower=lower, kind=kind, mac=mac)

    def add_own(self, name: str, kind: str = "bridge") -> None:
        """Create a device that has nothing below it, as programs in the pod do; raises OSError."""
        self._holder.call("add_own", name=name, kind=kind)

    def set_up(self, name: str) -> None:
        """Set an interface up."""
        self._holder.call("up", name=name)

    def set_down(self, name: str) -> None:
        """Set an interface down."""
        self._holder.call("down", name=name)

    def rename(self, name: str, to: str) -> None:
        """Rename an interface."""
        self._holder.call("rename", name=name, to=to)

    def set_mac(self, name: str, mac: str) -> None:
        """Set another MAC on an interface."""
        self._holder.call("set_mac", name=name, mac=mac)

    def delete_interface(self, name: str) -> None:
        """Delete an interface with its addresses."""
        self._holder.call("delete", name=name)

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path = ROOT,
        unprivileged: bool = True,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
        termination_log: Path | None = None,
        read_only: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a process as a container of this pod; `env` is its whole environment.

        `argv[0]` is looked up in env's PATH. `termination_log` is an existing file that the process sees
        as /dev/termination-log; `read_only` makes everything else read-only to it (readOnlyRootFilesystem).
        The process is killed when the thread that started it ends, and when the pod is closed.
        """
        measured = {} if read_only else _coverage()
        spec = replace(
            self._spec(argv, {**measured, **env}, cwd),
            unprivileged=unprivileged,
            termination_log=str(termination_log) if termination_log else None,
            read_only=read_only,
        )
        return self._start(spec, stdin, stdout, stderr)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path = ROOT,
        unprivileged: bool = True,
        read_only: bool = False,
        timeout: float = 60,
    ) -> Completed:
        """Run a process to its end as a container of this pod, with a termination log.

        After `timeout` seconds it is killed and subprocess.TimeoutExpired is raised.
        """
        with tempfile.NamedTemporaryFile(prefix="termination-log-") as log:
            Path(log.name).chmod(0o666)
            process = self.popen(
                argv,
                env=env,
                cwd=cwd,
                unprivileged=unprivileged,
                termination_log=Path(log.name),
                read_only=read_only,
            )
            done = self._completed(process, timeout)
            message = Path(log.name).read_text(encoding="utf-8", errors="replace")
            return replace(done, termination_message=message)


class Node(Namespace):
    """The node's side: the pods' gateways, the IMDS address, and the servers that stand for AWS.

    `address` is the node's primary address: servers that pods shall reach listen on it or on IMDS.
    `here=True` uses the namespace that the caller is in, which must be one that it made for itself:
    interfaces, addresses and routes are added to it and stay. Raises NamespacesForbidden, with the remedy.
    """

    def __init__(self, address: str = "10.10.0.10", *, here: bool = False) -> None:
        self.address = address
        self._pods: list[Pod] = []
        self._links = 0
        kind = "here" if here else "net" if os.geteuid() == 0 else "user"
        try:
            holder = client.start("here") if here else client.fork(kind)
        except OSError as error:
            raise NamespacesForbidden(str(error)) from None
        user = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY) if kind == "user" else None
        super().__init__(holder, user)
        if user is not None:
            self._closing.callback(os.close, user)
        self._holder.call("up", name="lo")
        for carried in (address, IMDS):
            self.add_address("lo", f"{carried}/32")

    def close(self) -> None:
        """End the node, its pods and all their processes."""
        for pod in self._pods:
            pod.close()
        self._pods.clear()
        super().close()

    def pod(self, *, eth0: str | None = "10.10.0.21/32") -> Pod:
        """Make a pod: `lo` up, and `eth0` with this address and a default route, as the VPC CNI makes it.

        IPv4 or IPv6; None for a pod without eth0.
        """
        holder = self._holder.fork("net")
        pod = Pod(self, holder, self._user)
        self._pods.append(pod)
        pod.set_up("lo")
        if eth0 is not None:
            self._add_eth0(pod, holder.pid, eth0)
        return pod

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = None,
    ) -> subprocess.Popen[bytes]:
        """Start a server on the node with the rights of root there (so port 80 is allowed).

        Without `env` it has ours. It is killed when the thread that started it ends, and ended (SIGTERM,
        then SIGKILL) when the node is closed.
        """
        return self._start(self._spec(argv, os.environ if env is None else env, cwd), stdin, stdout, stderr)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        timeout: float = 60,
    ) -> Completed:
        """Run a process to its end on the node, with the rights of root there; without `env` it has ours.

        After `timeout` seconds it is killed and subprocess.TimeoutExpired is raised.
        """
        return self._completed(self.popen(argv, env=env, cwd=cwd, stderr=subprocess.PIPE), timeout)

    def _add_eth0(self, pod: Pod, pid: int, eth0: str) -> None:
        address = ip_interface(eth0)
        gateway = GATEWAY[address.version]
        bits = address.max_prefixlen
        veth = self._attach("eth0", pid, None)
        pod.set_up("eth0")
        pod.add_address("eth0", eth0)
        self.add_address(veth, f"{gateway}/{bits}")
        self.add_route(f"{address.ip}/{bits}", veth)
        pod.add_route(f"{gateway}/{bits}", "eth0")
        pod.add_route("0.0.0.0/0" if address.version == 4 else "::/0", "eth0", gateway)

    def _attach(self, name: str, pid: int, mac: str | None) -> str:
        """Make a veth pair into the namespace of `pid`; answers the name of the node's end."""
        self._links += 1
        veth = f"veth{self._links}"
        self._holder.call("add_veth", name=veth, peer=name, peer_pid=pid, mac=mac)
        self._holder.call("up", name=veth)
        return veth


def _coverage() -> dict[str, str]:
    """What lets coverage.py measure a Python program that is given an environment of its own."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS_")}


@functools.cache
def available() -> str | None:
    """Say why no node can be made here, and what to allow; None if one can. It is tried, once."""
    try:
        with Node() as node:
            node.pod().add_interface("net1")
    except (NamespacesForbidden, OSError) as error:
        return str(error)
    return None


def require() -> None:
    """Skip the running pytest test where no node can be made; fail it if MULTUS_ENI_NO_SKIP is 1."""
    reason = available()
    if reason is not None:
        from tests.skipping import skip  # noqa: PLC0415 - the demo uses this module without pytest

        skip(reason)
