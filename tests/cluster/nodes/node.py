"""One node: a machine of its own with containerd and a kubelet."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ipagent.node_network_api import STARTUP_TAINT
from tests.cluster.nodes import cgroups, configs
from tests.cluster.nodes.plan import REGION, NodePlan
from tests.cluster.nodes.sandbox import CommandError, Sandbox, program
from tests.cluster.nodes.scripts import FOLDERS, node_script, plug_in, unplug
from tests.cluster.nodes.unpacked import lay_out
from tests.cluster.processes import Process
from tests.cluster.tools import Binaries

SERVES = b"Start streaming server"
"""What containerd logs when it begins to serve pods (containerd, pkg/cri, service.go, Run)."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What all nodes of a cluster have in common.

    `plugins` are CNI plugins by name, `cgroup` is the name of the cluster's, `images` is the folder that
    `unpacked` returns.
    """

    outer: Sandbox
    folder: Path
    cgroup: str
    binaries: Binaries
    plugins: Mapping[str, Path]
    images: Path
    nodes: Sequence[NodePlan]


class RealNode:
    """A node, which `start` boots and `kill` ends without warning, as often as wanted.

    Its disk outlives it: what containerd and the kubelet have written is there at the next start. Start it in
    a thread that lives as long as it should.
    """

    def __init__(
        self, plan: NodePlan, equipment: Equipment, *, static_cpu: bool, tainted: bool = False
    ) -> None:
        self.plan = plan
        self._equipment = equipment
        self._disk = equipment.folder / plan.name
        self._cgroup = f"{equipment.cgroup}/{plan.name}"
        self._static_cpu = static_cpu
        self._tainted = tainted
        self._machine: Sandbox | None = None
        self._containerd: Process | None = None
        # How much of containerd's log is of earlier boots.
        self._logged = 0
        self._kubelet: Process | None = None
        self._exit = ExitStack()

    @property
    def name(self) -> str:
        """The name of the Node."""
        return self.plan.name

    @property
    def address(self) -> str:
        """Its own address, at which host-network pods are."""
        return self.plan.address

    @property
    def instance_id(self) -> str:
        """The instance that the doubles know it as."""
        return self.plan.instance_id

    @property
    def enis(self) -> Mapping[str, str]:
        """The ENIs of its pods by the name of the interface, such as `eth1`."""
        return {eni.interface: eni.id for eni in self.plan.enis if eni.device}

    @property
    def running(self) -> bool:
        """Whether it has been booted, and not killed since."""
        return self._machine is not None

    @property
    def machine(self) -> Sandbox:
        """Its namespaces, to run programs beside the kubelet; raises RuntimeError while it is down."""
        if self._machine is None:
            raise RuntimeError(f"the node {self.name} is not running")
        return self._machine

    @property
    def disk(self) -> Path:
        """The folder that holds its disk: `/var/log/pods` of it is there as a path below this one."""
        return self._disk

    def install(self) -> None:
        """Write its disk, all but what needs a control plane."""
        for path in (*FOLDERS, "/opt/cni/bin"):
            self._on_disk(path).mkdir(parents=True)
        for path, text in configs.files(self.plan, self._cgroup, static_cpu=self._static_cpu).items():
            self._write(path, text)
        for name, plugin in self._equipment.plugins.items():
            shutil.copy(plugin, self._on_disk(f"/opt/cni/bin/{name}"))
        lay_out(self._equipment.images, self._on_disk("/var/lib/containerd"))

    def know(self, kubeconfigs: Mapping[str, Path]) -> None:
        """Copy kubeconfigs to the paths by which it knows them."""
        for path, source in kubeconfigs.items():
            self._write(path, source.read_text(encoding="utf-8"))

    def boot(self) -> None:
        """Make the machine and start its containerd, for which nothing waits yet."""
        equipment, name = self._equipment, self.plan.name
        cgroups.make(self._cgroup)
        equipment.outer.run("ip", "netns", "add", name)
        equipment.outer.run("ip", "-batch", "-", data=plug_in(self.plan))
        script = node_script(self.plan, equipment.nodes, self._disk)
        with ExitStack() as stack:
            machine = Sandbox(name, script, equipment.folder, outer=equipment.outer, netns=name)
            self._machine = stack.enter_context(machine)
            stack.callback(self.stop_kubelet)
            stack.callback(self.stop_containerd)
            self.start_containerd()
            self._exit = stack.pop_all()

    def start_containerd(self) -> None:
        """Start its containerd, which must not be running and for which nothing waits yet."""
        argv = [program("containerd"), "--config=/etc/kubernetes/containerd.toml"]
        containerd = self.machine.process(f"{self.name}-containerd", argv)
        self._logged = containerd.log.stat().st_size if containerd.log.exists() else 0
        self._containerd = containerd.__enter__()

    def stop_containerd(self) -> None:
        """Kill its containerd; the pods' processes go on."""
        if self._containerd is not None:
            self._containerd.kill()
            self._containerd = None

    def wait_for_containerd(self) -> None:
        """Wait until containerd answers, which the kubelet needs."""
        if self._containerd is None:
            raise RuntimeError(f"the node {self.name} has not been booted")
        self._containerd.wait_until(self._serves, "containerd that serves pods", 60)

    def start(self) -> None:
        """Boot it again and start its kubelet; that the Node becomes Ready is not waited for."""
        self.boot()
        self.wait_for_containerd()
        self.start_kubelet()

    def start_kubelet(self) -> None:
        """Start its kubelet, which must not be running."""
        zone = self.plan.zone
        # As EKS's nodes are labelled. Spreading over zones and nodes leaves out nodes without a zone.
        labels = {
            "topology.kubernetes.io/region": REGION,
            "topology.kubernetes.io/zone": zone,
            "node.kubernetes.io/instance-type": self.plan.instance_type,
        }
        flags = [
            "--config=/etc/kubernetes/kubelet.yaml",
            f"--kubeconfig={configs.KUBELET_KUBECONFIG}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
            f"--provider-id=aws:///{zone}/{self.instance_id}",
            "--v=2",
        ]
        if self._tainted:
            flags.append(f"--register-with-taints={STARTUP_TAINT}:NoSchedule")
        argv = [str(self._equipment.binaries["kubelet"]), *flags]
        self._kubelet = self.machine.process(f"{self.name}-kubelet", argv).__enter__()

    def stop_kubelet(self) -> None:
        """Kill its kubelet; the pods' processes go on."""
        if self._kubelet is not None:
            self._kubelet.kill()
            self._kubelet = None

    @property
    def kubelet_ended(self) -> bool:
        """Whether its kubelet has ended by itself."""
        return self._kubelet is not None and self._kubelet.ended

    def kill(self) -> None:
        """End all that runs on it at once, as a power cut does; nothing happens while it is down."""
        if self._machine is None:
            return
        self._exit.close()
        self._machine = None
        cgroups.remove(self._cgroup)
        equipment = self._equipment
        equipment.outer.run("ip", "-batch", "-", data=unplug(self.plan))
        equipment.outer.run("ip", "netns", "delete", self.name)

    def check(self) -> None:
        """Raise ProcessError where containerd or the kubelet ended by itself."""
        for process in (self._containerd, self._kubelet):
            if self._machine and process:
                process.check()

    def _serves(self) -> bool:
        """Return whether containerd serves pods: its socket is there before, and a kubelet ends over that."""
        if self._containerd is None or SERVES not in self._containerd.log.read_bytes()[self._logged :]:
            return False
        try:
            self._ctr("version")
        except CommandError:
            return False
        return True

    def _ctr(self, *arguments: str) -> str:
        return self.machine.run(program("ctr"), "--namespace=k8s.io", *arguments, timeout=300)

    def _write(self, path: str, text: str) -> None:
        file = self._on_disk(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def _on_disk(self, path: str) -> Path:
        return Path(f"{self._disk}{path}")
