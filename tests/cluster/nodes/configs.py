"""The files that a node's programs are configured by. Pure."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.nodes.plan import DNS_SERVICE, NodePlan

PAUSE = "localhost/pause:1"
MULTUS_KUBECONFIG = "/etc/cni/net.d/multus.d/multus.kubeconfig"
WHEREABOUTS_KUBECONFIG = "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"
KUBELET_KUBECONFIG = "/etc/kubernetes/kubelet.conf"

CRI = "io.containerd.grpc.v1.cri"
DISABLED = (
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")),
    "io.containerd.internal.v1.opt",
)
CONTAINERD = f"""\
version = 2
disabled_plugins = {json.dumps(DISABLED)}
[plugins."{CRI}"]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE, as in many sandboxes, runc fails otherwise.
  restrict_oom_score_adj = true
  [plugins."{CRI}".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."{CRI}".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."{CRI}".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"""


def importing(root: Path) -> str:
    """Write the configuration of a containerd that imports images into `root`, and runs no pods."""
    disabled = json.dumps((*DISABLED, CRI))
    return f'version = 2\nroot = "{root}"\nstate = "/run/containerd"\ndisabled_plugins = {disabled}\n'


def files(node: NodePlan, cgroup: str, *, static_cpu: bool) -> dict[str, str]:
    """Write what a node's folder holds beside kubeconfigs, by path."""
    return {
        "/etc/kubernetes/containerd.toml": CONTAINERD,
        "/etc/kubernetes/kubelet.yaml": json.dumps(kubelet(cgroup, static_cpu=static_cpu)),
        "/etc/kubernetes/resolv.conf": "nameserver 127.0.0.1\n",
        "/etc/machine-id": f"{node.number:032x}\n",
        "/etc/cni/net.d/00-multus.conf": json.dumps(multus(node)),
        "/etc/cni/net.d/whereabouts.d/whereabouts.conf": json.dumps(whereabouts()),
        "/etc/cni/net.d/whereabouts.d/nodename": node.name,
    }


def kubelet(cgroup: str, *, static_cpu: bool) -> dict[str, object]:
    """Write a KubeletConfiguration; with `static_cpu` Guaranteed pods get whole CPUs of their own."""
    config: dict[str, object] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "failSwapOn": False,
        # Nobody answers there, at once: without an address the kubelet warns about each pod.
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/kubernetes/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 20,
        "syncFrequency": "5s",
        "maxPods": 110,
        # As fast as the API server takes it: many pods start at once.
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        # Containers that fail start again soon: in place of 10 s, 20 s and so on.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
    }
    if static_cpu:
        # The policy needs a CPU to leave to all others: a part of one reserves a whole one.
        config |= {"cpuManagerPolicy": "static", "kubeReserved": {"cpu": "100m"}}
    return config


def multus(node: NodePlan) -> dict[str, object]:
    """Write Multus's configuration, first in its folder: a bridge is each pod's eth0."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        # Whoever is called sees the pod's own address, as with the VPC CNI.
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": node.pod_cidr}]],
            "dataDir": "/var/lib/cni/networks",
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {
        "cniVersion": "0.3.1",
        "name": "multus-cni-network",
        "type": "multus",
        "kubeconfig": MULTUS_KUBECONFIG,
        "logLevel": "verbose",
        "logFile": "/var/log/pods/multus.log",
        "capabilities": {"portMappings": True},
        "delegates": [{"cniVersion": "0.3.1", "name": "default", "plugins": [bridge, portmap]}],
    }


def whereabouts() -> dict[str, object]:
    """Write what whereabouts reads beside a network's own configuration."""
    return {
        "datastore": "kubernetes",
        # As its installer writes it: the node's name is in there.
        "configuration_path": "/etc/cni/net.d/whereabouts.d",
        "kubernetes": {"kubeconfig": WHEREABOUTS_KUBECONFIG},
        "log_file": "/var/log/pods/whereabouts.log",
        "log_level": "verbose",
    }
