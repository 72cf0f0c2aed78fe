"""The cluster as a whole: control plane, cloud and nodes."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from common.version import VERSION
from tests.cluster.api import ApiError, Kind
from tests.cluster.control_plane import NO_TYPE_CHECKS, ControlPlane, Place, make_user
from tests.cluster.helm import Helm
from tests.cluster.nodes import cgroups, configs
from tests.cluster.nodes.cloud import CloudControl, doubles, serves
from tests.cluster.nodes.images import BUSYBOX
from tests.cluster.nodes.node import Equipment, RealNode
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import API_PORT, EC2_PORT, GATEWAY, ZONE, NodePlan, world
from tests.cluster.nodes.plugger import ROUND_SECONDS, Plugger
from tests.cluster.nodes.port_forwarding import PortForwarding
from tests.cluster.nodes.sandbox import Sandbox
from tests.cluster.nodes.scripts import outer_script
from tests.cluster.nodes.stale_clusters import folder_prefix
from tests.cluster.nodes.stale_clusters import remove as remove_stale
from tests.cluster.nodes.unpacked import unpacked
from tests.cluster.processes import LAZY_GC
from tests.cluster.waiting import wait_for

NODE = Kind("v1", "Node")
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
READY_SECONDS = 120.0
# Pods leave a node that is lost after half a minute, not after six.
API_SERVER_FLAGS = (
    "--default-not-ready-toleration-seconds=10",
    "--default-unreachable-toleration-seconds=10",
)
SAMPLES_IMAGE = "docker.io/library/busybox:latest"
"""What `image: busybox` means: so that nodes need not pull what examples and public samples name."""
CONTROLLER_FLAGS = ("--node-monitor-grace-period=20s", NO_TYPE_CHECKS)


class KubectlError(RuntimeError):
    """kubectl ended with another status than 0; the text is what it said."""


class Cluster:
    """Control plane, doubles and nodes, from `with` to the end of its block.

    `static_cpu` names the nodes whose kubelet gives Guaranteed pods CPUs of their own; `hop_limit` is that of
    each instance's metadata options. With `primary_only` nodes boot with their primary interface alone.
    ENIs that are attached later appear in nodes while a `plugger` is at work. The kubelets of `tainted` nodes
    register them with the startup taint. `zones` are those of nodes in another one than ZONE. `account`
    replaces keys of the doubles' world, such as `roles`.

    Needs root. Start it in a thread that lives as long as it should. Raises ProcessError with the end of a
    log where a part of it does not start.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        nodes: int = 2,
        static_cpu: Sequence[str] = ("n2",),
        hop_limit: int = 2,
        primary_only: bool = False,
        tainted: Sequence[str] = (),
        zones: Mapping[str, str] | None = None,
        account: Mapping[str, object] | None = None,
    ) -> None:
        self._parts = parts
        self._static_cpu = tuple(static_cpu)
        self._tainted = frozenset(tainted)
        self._account = dict(account or {})
        self._plans = tuple(
            NodePlan(
                number,
                hop_limit,
                primary_only=primary_only,
                zone=(zones or {}).get(f"n{number}", ZONE),
            )
            for number in range(1, nodes + 1)
        )
        self._exit = ExitStack()
        self.name = cgroups.new_name()
        self.startup_seconds = 0.0
        self.nodes: dict[str, RealNode] = {}

    def __enter__(self) -> Self:
        began = time.monotonic()
        # What can't be removed now is no reason not to start.
        with suppress(TimeoutError):
            remove_stale(timeout=10.0)
        with ExitStack() as stack:
            self._start(stack)
            self._exit = stack.pop_all()
        self.startup_seconds = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def check(self) -> None:
        """Raise ProcessError where a part of it has ended by itself."""
        self.plane.check()
        self._doubles.check()
        for node in self.nodes.values():
            node.check()

    def helm(self, program: Path) -> Helm:
        """Let a Helm program work on this cluster."""
        folder = self.folder / f"helm-{program.name}"
        folder.mkdir(exist_ok=True)
        return Helm(program, folder, self.kubeconfig)

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 120.0) -> str:  # noqa: A002 - as subprocess's
        """Run kubectl as the administrator; returns its output. Raises KubectlError."""
        done = subprocess.run(
            [self._parts.binaries["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments],
            input=input or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"HOME": str(self.folder), "PATH": os.environ.get("PATH", ""), **LAZY_GC},
        )
        if done.returncode != 0:
            raise KubectlError(
                f"kubectl {' '.join(arguments)}: status {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done.stdout

    def exec(self, namespace: str, pod: str, container: str, *argv: str) -> str:
        """Run a program in a container; returns its output. Raises KubectlError."""
        return self.kubectl("exec", f"--namespace={namespace}", pod, f"--container={container}", "--", *argv)

    def agent_values(self) -> dict[str, Any]:
        """Return chart values with which our images work here; they say nothing of modes or certificates."""
        endpoint = {"name": "AWS_ENDPOINT_URL_EC2", "value": f"http://{GATEWAY}:{EC2_PORT}"}
        return {"image": {"registry": "localhost", "tag": VERSION}, "agent": {"env": [endpoint]}}

    def plugger(
        self, *, link_delay: float = 0.0, seed: int = 0, round_seconds: float = ROUND_SECONDS
    ) -> Plugger:
        """Make what plugs ENIs in and out as they are attached and detached; `with` starts it."""
        return Plugger(
            self._outer,
            self.cloud.url,
            self.nodes,
            link_delay=link_delay,
            seed=seed,
            round_seconds=round_seconds,
        )

    def wait_ready(self, *names: str, timeout: float = READY_SECONDS) -> None:
        """Wait until Nodes are ready for pods, by default all."""
        for name in names or self.nodes:

            def ready(name: str = name) -> bool:
                self.check()
                return self._is_ready(name)

            wait_for(ready, f"readiness of the node {name}", timeout)

    def _start(self, stack: ExitStack) -> None:
        # Last of all, when nothing uses them any more.
        stack.callback(cgroups.remove, self.name)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=folder_prefix(self.name))))
        self._outer = stack.enter_context(Sandbox("cluster", outer_script(self._plans), self.folder))
        self._doubles = stack.enter_context(doubles(self._outer, world(self._plans) | self._account))
        targets = {"api": f"{GATEWAY}:{API_PORT}", "ec2": f"{GATEWAY}:{EC2_PORT}"}
        ports = stack.enter_context(PortForwarding(self._outer, targets)).ports
        self.cloud = stack.enter_context(CloudControl(f"http://127.0.0.1:{ports['ec2']}"))
        self._boot(stack)
        self._start_plane(stack, f"https://127.0.0.1:{ports['api']}")
        for node in self.nodes.values():
            node.wait_for_containerd()
            node.start_kubelet()
        self._doubles.wait_until(lambda: serves(self._doubles), "line that says where they listen", 30)
        if untainted := self.nodes.keys() - self._tainted:
            self.wait_ready(*untainted)

    def _boot(self, stack: ExitStack) -> None:
        parts = self._parts
        images = unpacked(parts.images, [(BUSYBOX, SAMPLES_IMAGE)])
        equipment = Equipment(
            self._outer, self.folder, self.name, parts.binaries, parts.plugins, images, self._plans
        )
        for plan in self._plans:
            tainted = plan.name in self._tainted
            node = RealNode(plan, equipment, static_cpu=plan.name in self._static_cpu, tainted=tainted)
            node.install()
            stack.callback(node.kill)
            node.boot()
            self.nodes[plan.name] = node

    def _start_plane(self, stack: ExitStack, url: str) -> None:
        kubelets = {plan.name: make_user(f"system:node:{plan.name}", "system:nodes") for plan in self._plans}
        cni = make_user("cni")
        self.plane = stack.enter_context(
            ControlPlane(
                self._parts.binaries,
                place=Place(self._outer.prefix, self.folder, GATEWAY, url),
                scheduler=True,
                aggregator_routing=True,
                apiserver_flags=API_SERVER_FLAGS,
                controller_flags=CONTROLLER_FLAGS,
                users=[cni, *kubelets.values()],
            )
        )
        self.api = stack.enter_context(self.plane.client())
        self.kubeconfig = self.plane.kubeconfig(self.plane.admin)
        for file in self._parts.crds:
            for manifest in filter(None, yaml.safe_load_all(file.read_text(encoding="utf-8"))):
                self.api.apply(manifest)
        for node in self.nodes.values():
            node.know(
                {
                    configs.KUBELET_KUBECONFIG: self.plane.kubeconfig(kubelets[node.name], inner=True),
                    configs.MULTUS_KUBECONFIG: self.plane.kubeconfig(cni, inner=True),
                    configs.WHEREABOUTS_KUBECONFIG: self.plane.kubeconfig(cni, inner=True),
                }
            )
        wait_for(self._crds_served, "service of the CRDs", 60)

    def _crds_served(self) -> bool:
        # A new one has no list, or null.
        conditions = [each.get("status", {}).get("conditions") or [] for each in self.api.list(CRD)]
        return all(
            any(condition["type"] == "Established" and condition["status"] == "True" for condition in each)
            for each in conditions
        )

    def _is_ready(self, name: str) -> bool:
        try:
            node = self.api.get(NODE, name)
        except ApiError as error:
            if not error.not_found:
                raise
            return False
        states = {each["type"]: each["status"] for each in node.get("status", {}).get("conditions", [])}
        return states.get("Ready") == "True" and not node["spec"].get("taints")
