"""The shell scripts that set namespaces up, as text. Pure.

They run with `set -eu` as root inside fresh namespaces, never outside.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.control_plane import SERVICE_CIDR
from tests.cluster.nodes.plan import (
    API_PORT,
    API_SERVICE,
    GATEWAY,
    IMDS,
    SUBNETS,
    NodePlan,
)

OVERLAID = ("/etc", "/opt", "/var/lib", "/var/log")
"""What nodes need mount points in, which a machine may lack and which must not appear on it."""
FOLDERS = (
    "/etc/cni",
    "/etc/kubernetes",
    "/opt/cni",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/multus-eni-injector",
    "/var/log/containers",
    "/var/log/pods",
)
"""What each node has of its own."""
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet wants, and would write into the kernel that everybody shares."""


def outer_script(nodes: Sequence[NodePlan]) -> str:
    """Write what makes the cluster's own network, and /run and mount points that only it sees."""
    lines = ["hostname cluster", *_run()]
    for folder in OVERLAID:
        layers = f"/run/overlay{folder}"
        options = f"lowerdir={folder},upperdir={layers}/upper,workdir={layers}/work"
        lines += [
            f"mkdir -p {layers}/upper {layers}/work",
            f"mount -t overlay -o {options} overlay {folder}",
        ]
    lines += [f"mkdir -p {' '.join(FOLDERS)}", "[ -e /etc/machine-id ] || : > /etc/machine-id"]
    lines += ["mkdir -p /run/netns"]
    lines += _forwarding()
    lines += _batch(_outer_links(nodes))
    return "\n".join(lines) + "\n"


def node_script(node: NodePlan, nodes: Sequence[NodePlan], folder: Path) -> str:
    """Write what makes a machine out of namespaces, inside its network namespace."""
    lines = [f"hostname {node.name}", *_run(), "mkdir -p /run/containerd"]
    own = (*FOLDERS, "/etc/machine-id")
    lines += [f"mount --bind {shlex.quote(f'{folder}{path}')} {path}" for path in own]
    # The sysfs of this network namespace, with the cgroups put back where they were.
    lines += [
        "mkdir /run/cgroup",
        "mount --rbind /sys/fs/cgroup /run/cgroup",
        "mount -t sysfs sysfs /sys",
        "mount --rbind /run/cgroup /sys/fs/cgroup",
        "umount -l /run/cgroup",
    ]
    lines += ["mkdir /run/sysctl"]
    for key, value in SYSCTLS.items():
        file = f"/run/sysctl/{key.replace('/', '.')}"
        lines.append(f"echo {value} > {file}; mount --bind {file} /proc/sys/{key}")
    # As systemd leaves it: volumes may be mounted in both directions.
    lines += ["mount --make-rshared /"]
    lines += _forwarding()
    lines += _batch(_node_links(node, nodes))
    # In place of kube-proxy: the one Service that pods need, and a refusal for all others.
    lines += [
        f"iptables -w -t nat -A {chain} -d {API_SERVICE} -p tcp --dport 443"
        f" -j DNAT --to-destination {GATEWAY}:{API_PORT}"
        for chain in ("PREROUTING", "OUTPUT")
    ]
    lines += [f"iptables -w -A {chain} -d {SERVICE_CIDR} -j REJECT" for chain in ("FORWARD", "OUTPUT")]
    return "\n".join(lines) + "\n"


def plug_in(node: NodePlan) -> str:
    """Write the lines of `ip -batch` that make a node's interfaces, outside of it."""
    return "".join(
        f"link add {cable(node, eni.interface)} master {eni.subnet.bridge} up"
        f" type veth peer name {eni.interface} address {eni.mac} netns {node.name}\n"
        for eni in node.enis
    )


def unplug(node: NodePlan) -> str:
    """Write the lines of `ip -batch` that take them away at once, not when their namespace has ended."""
    return "".join(f"link delete {cable(node, eni.interface)}\n" for eni in node.enis)


def cable(node: NodePlan, interface: str) -> str:
    """Name the end of a node's interface that is outside of it."""
    return f"{node.name}-{interface}"


def _run() -> list[str]:
    return ["mount -t tmpfs -o mode=755 tmpfs /run", "mkdir -p /run/lock"]


def _forwarding() -> list[str]:
    return [f"echo 1 > /proc/sys/net/{key}" for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]


def _batch(lines: Sequence[str]) -> list[str]:
    return ["ip -batch - <<'END'", *lines, "END"]


def _outer_links(nodes: Sequence[NodePlan]) -> list[str]:
    lines = ["link set lo up"]
    for subnet in SUBNETS:
        lines += [
            f"link add {subnet.bridge} type bridge",
            f"addr add {subnet.router} dev {subnet.bridge}",
            f"link set {subnet.bridge} up",
        ]
        if subnet.ipv6_router:
            lines.append(f"addr add {subnet.ipv6_router} dev {subnet.bridge} nodad")
    lines.append(f"addr add {IMDS}/32 dev {SUBNETS[0].bridge}")
    return lines + [f"route add {node.pod_cidr} via {node.address}" for node in nodes]


def _node_links(node: NodePlan, nodes: Sequence[NodePlan]) -> list[str]:
    lines = ["link set lo up", f"addr add {node.address}/24 dev eth0"]
    lines += [f"link set {eni.interface} up" for eni in node.enis]
    lines += [f"route add default via {GATEWAY}"]
    others = [other for other in nodes if other != node]
    return lines + [f"route add {other.pod_cidr} via {other.address}" for other in others]
