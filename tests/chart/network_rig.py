"""A replica of the controller as threads, with the chart's rights on the API server, and EC2 in memory."""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from common.agent_settings import LogFormat
from common.kube.client import Client
from common.kube.kubeconfig import load_kubeconfig
from common.kube.lease import LeaderElection, LeaseTimings
from ipagent.controller.ec2.executor import Executor
from ipagent.controller.kube.eni_users import list_users
from ipagent.controller.kube.events import EventWriter
from ipagent.controller.kube.informers import Informers
from ipagent.controller.kube.slice_pools import SlicePools
from ipagent.controller.kube.writer import Writer
from ipagent.controller.loop import Loop
from ipagent.controller.main import REMEDIES
from ipagent.controller.model.actions import Call
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Answer
from ipagent.links.node_attachments import status_body
from ipagent.links.plan import LinkStatus
from ipagent.links.pool import PoolReport, PrefixUse
from ipagent.log import Log
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node_network_api import ATTACHMENTS, LEASE, LINKS_MANAGER, STARTUP_TAINT
from tests.chart.conftest import Cluster
from tests.cluster.api import Api, ApiError, Kind, Manifest
from tests.cluster.helm import NAMESPACE
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.waiting import wait_for
from tests.ipagent.controller.world import World

NETWORK = Kind("multus-eni.io/v1alpha1", "NodeNetwork")
ATTACHMENT = Kind("multus-eni.io/v1alpha1", "NodeAttachment")
NODE = Kind("v1", "Node")
EVENT = Kind("v1", "Event")
OWN = "multus-eni-injector-controller"
DAEMON = "multus-eni-injector-node"
_numbers = itertools.count(1)


@dataclass
class Rig:
    """`client` has the controller's identity, `api` the administrator's."""

    api: Api
    client: Client
    world: World
    log: io.StringIO = field(default_factory=io.StringIO)
    slice_namespace: str = ""
    """Of whereabouts' NodeSlicePools, if any are to be written."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _loop: Loop | None = None
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Take the Lease and lead."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop as SIGTERM does."""
        self._stop.set()
        if self._loop is not None:
            self._loop.wakes.soon()
        assert self._thread is not None
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _make(self, call: Call) -> Answer:
        with self._lock:
            self.world.now = time.monotonic()
            return self.world.execute(call)

    def _work(self) -> None:
        log = Log(form=LogFormat.JSON, stream=self.log)
        election = LeaderElection(
            self.client,
            namespace=NAMESPACE,
            name=LEASE,
            identity=f"replica-{next(_numbers)}",
            on_change=lambda: None,
            on_error=lambda error: log.warning("lease", message=str(error)),
            timings=LeaseTimings(3.0, 2.0, 0.3, 0.3),
        )
        election.start()
        wait_for(lambda: election.leading, "the Lease")
        loop: Loop
        changed = lambda nodes: loop.wakes.changed(nodes)  # noqa: E731, PLW0108 - there is no loop yet
        informers = Informers(self.client, changed, log)
        writer = Writer(self.client, EventWriter(self.client, "replica", log), log, lambda: election.leading)
        loop = self._loop = Loop(Controller(State("prod")), informers, writer, log, time.monotonic)
        if self.slice_namespace:
            may = lambda: election.leading  # noqa: E731 - as in the process
            loop.slice_pools = SlicePools(self.client, self.slice_namespace, log, may)
        executor = Executor(
            self._make,
            lambda call: list_users(self.client, call),
            lambda: election.leading,
            loop.wakes.soon,
        )
        informers.start()
        loop.run(executor, self._stop, lambda: election.leading)
        informers.stop(5)
        executor.close()
        election.stop()
        election.join(5)

    def register(self, name: str, *, tainted: bool = False) -> None:
        """Start an instance and register its node, as the kubelet does."""
        with self._lock:
            made = self.world.add_node(name)
        taints = [{"key": STARTUP_TAINT, "effect": "NoSchedule"}] if tainted else []
        labels = {"node-group": "multus", "topology.kubernetes.io/zone": made.zone}
        labels["node.kubernetes.io/instance-type"] = made.type
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": {"providerID": f"aws:///{made.zone}/{made.instance}", "taints": taints},
            }
        )

    def pod(
        self, name: str, node: str, *, mac: str = "", account: str = "default", posing: bool = False
    ) -> Manifest:
        """Create a pod that is bound to a node, with a Multus interface of that MAC.

        With `posing` its manifest says so, and Multus has written nothing.
        """
        status = json.dumps([{"name": "ns/oam", "interface": "net1", "mac": mac}])
        annotations = {NETWORK_STATUS: status}
        made = self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "annotations": annotations if posing else {}},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": account,
                    "containers": [{"name": "app", "image": "busybox"}],
                },
            },
            NAMESPACE,
        ).object
        if not posing:
            self.api.annotate_pod(name, NAMESPACE, annotations)
        return made

    def condition(self, name: str, kind: str = "Ready") -> str:
        """Return a condition of a NodeAttachment as `status reason`."""
        try:
            status = self.api.get(ATTACHMENT, name).get("status") or {}
        except ApiError:
            return ""
        found = [each for each in status.get("conditions", ()) if each["type"] == kind]
        return f"{found[0]['status']} {found[0]['reason']}" if found else ""

    def events(self, node: str) -> set[str]:
        """Return the reasons of the Events on a node."""
        found = self.api.list(EVENT, "default")
        return {each["reason"] for each in found if each["involvedObject"].get("name") == node}

    def report_pool(self, name: str, used: int, *, client: Client | None = None) -> None:
        """Report a pool as the links container does: its active prefixes, and addresses in the first ones."""
        status = self.api.get(ATTACHMENT, name)["status"]
        uses = []
        for each in status.get("prefixes", ()):
            here = min(used, 16)
            used -= here
            uses.append(PrefixUse(each["prefix"], here, each["state"] == "Active"))
        pool = PoolReport("/etc/cni/multus/net.d/99-multus-eni-oam.conflist", "", tuple(uses))
        self.report(name, LinkStatus(status["mac"], "ens6", up=True, mtu=9001, pool=pool), client=client)

    def report(self, name: str, link: LinkStatus, *, client: Client | None = None) -> None:
        """Report an interface as the links container does."""
        path, what = f"{ATTACHMENTS}/{name}/status", "report an interface"
        (client or self.client).apply(path, what, status_body(name, link), manager=LINKS_MANAGER, force=True)

    def report_link(self, name: str, *, client: Client | None = None, **more: object) -> None:
        """Apply status.link as the links container does, and `more` of the status as it must not."""
        mac = self.api.get(ATTACHMENT, name)["status"]["mac"]
        report_link(client or self.client, name, mac, **more)


def report_link(client: Client, name: str, mac: str, **more: object) -> None:
    """Apply a NodeAttachment's status.link as the links container does, and `more` as it must not."""
    body = {
        "apiVersion": "multus-eni.io/v1alpha1",
        "kind": "NodeAttachment",
        "metadata": {"name": name},
        "status": {"link": {"mac": mac, "name": "oam", "up": True, "mtu": 9001}, **more},
    }
    path = f"{ATTACHMENTS}/{name}/status"
    client.apply(path, "report a link", body, manager=LINKS_MANAGER, force=True)


def token_of(cluster: Cluster, account: str, pod: Manifest | None = None) -> str:
    """Ask for a token of a ServiceAccount, bound to a pod as the kubelet does it."""
    client = Client(load_kubeconfig([cluster.plane.kubeconfig(cluster.plane.admin)]), "tests")
    spec: Manifest = {}
    if pod is not None:
        metadata = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {"boundObjectRef": bound}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    return str(client.create(path, "request a token", request).object["status"]["token"])


def client_with(cluster: Cluster, token: str, folder: Path) -> Client:
    """Make a client of the API server with a token; close it."""
    path = folder / f"kubeconfig-{next(_numbers)}"
    write_kubeconfig(path, cluster.plane.url, cluster.plane.ca.read_bytes(), token)
    return Client(load_kubeconfig([path]), "tests", REMEDIES, keep=60.0)
