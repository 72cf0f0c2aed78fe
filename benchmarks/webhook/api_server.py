"""What each webhook adds to creating pods through a real API server.

All webhooks are configured at once, each for a namespace of its own, so that they can take turns; a
namespace that none of them is configured for is what they are compared with.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.command import progress
from benchmarks.webhook.figures import NONE, OURS, Sample, medians, through
from benchmarks.webhook.load import Expect, Job, LoadClient, Turns
from benchmarks.webhook.pods import NAMESPACE, NETWORK, compact
from benchmarks.webhook.results import ApiServer
from benchmarks.webhook.servers import RESOURCE, Rack, Server
from tests.cluster.api import SERVICE_ACCOUNT, Api, ApiError, Kind
from tests.cluster.configuration import Service, pod_creation, webhook_configuration
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import SCOPE, ready_namespace, scope
from tests.cluster.tools import Binaries, Missing, find_binaries
from tests.cluster.waiting import wait_for

report = progress("webhook")

Manifest = dict[str, Any]

PROGRAMS = ("etcd", "kube-apiserver")
CLIENTS = (1, 16)
BURST_CLIENTS = 100
PEER_FAILURES = 3
"""A client; a peer that closes idle connections early loses calls that the API server makes on them."""


@dataclass(frozen=True, slots=True)
class ApiTurns:
    """How often and how long the dry-run creates are measured, and how many pods a burst has."""

    turns: Turns
    burst: int


_NETWORK_KIND = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition")
_CRD_KIND = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
_PLURAL = "network-attachment-definitions"
_CRD: Manifest = {
    "apiVersion": _CRD_KIND.api_version,
    "kind": _CRD_KIND.kind,
    "metadata": {"name": f"{_PLURAL}.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {
            "plural": _PLURAL,
            "singular": "network-attachment-definition",
            "kind": _NETWORK_KIND.kind,
            "shortNames": ["net-attach-def"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"config": {"type": "string"}}}
                        },
                    }
                },
            }
        ],
    },
}


def find_programs() -> Binaries | Missing:
    """Find what a control plane for this needs; there are no controllers."""
    return find_binaries(PROGRAMS)


def control_plane(binaries: Binaries) -> AbstractContextManager[ControlPlane]:
    """Make the control plane, to be started on the cores that are not the webhook's."""
    return ControlPlane(binaries, controller_manager=False)


def prepare(api: Api, names: Sequence[str]) -> None:
    """Make a namespace for each, and in them and in NAMESPACE what the peers look for."""
    api.create(_CRD)
    wait_for(lambda: _has_kind(api), "API for NetworkAttachmentDefinitions")
    for name in (NONE, *names):
        labels = {SCOPE: name}
        api.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _space(name), "labels": labels}}
        )
    for namespace in (NAMESPACE, *map(_space, (NONE, *names))):
        ready_namespace(api, namespace)
        api.apply(
            {
                "apiVersion": "v1",
                "kind": SERVICE_ACCOUNT.kind,
                "metadata": {
                    "name": "default",
                    "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/cnf"},
                },
            },
            namespace,
        )
        api.create(_network(), namespace)


def configure(api: Api, rack: Rack, servers: Sequence[Server], pod: Manifest) -> None:
    """Configure each webhook for its namespace, and wait until the API server calls it."""
    for server in servers:
        service = Service(f"https://{server.address}", rack.ca_pem)
        if server.name == OURS:
            api.create(webhook_configuration(service, scope=scope(OURS)))
        else:
            api.create(_peer_configuration(server, service))

    for server in servers:

        def called(server: Server = server) -> bool:
            return server.mark in json.dumps(api.create(pod, _space(server.name), dry_run=True).object)

        wait_for(called, f"call of {server.title} by the API server")


def check_pods(api: Api, pods: Sequence[Manifest]) -> None:
    """Create each as a dry run where no webhook is called; raises ApiError where one is not valid."""
    for pod in pods:
        api.create(pod, _space(NONE), dry_run=True)


def measure(
    plane: ControlPlane, servers: Sequence[Server], pod: Path, client: LoadClient, plan: ApiTurns
) -> ApiServer:
    """Create pods without and with each webhook, in turns; raises LoadError or ProcessError."""
    marks = {NONE: "", **{server.name: server.mark for server in servers}}
    pids = {server.name: server.process.pid for server in servers}
    jobs = {name: _job(plane, name, mark, pod) for name, mark in marks.items()}
    runs: dict[int, dict[str, list[Sample]]] = {
        count: {name: [] for name in jobs} for count in (*CLIENTS, BURST_CLIENTS)
    }
    for turn in range(plan.turns.repeats):
        report(f"through the API server, turn {turn + 1} of {plan.turns.repeats}")
        for count, samples in runs.items():
            for name, job in jobs.items():
                shaped = _burst(job, plan) if count == BURST_CLIENTS else _dry_run(job, count, plan.turns)
                samples[name].append(client.run(shaped, pids.get(name)))
                plane.check()
    with plane.client() as api:
        version = json.loads(api.raw("/version"))["gitVersion"]
    return ApiServer(
        version=version,
        creates={
            count: {name: through(runs[count][name], runs[count][NONE]) for name in marks}
            for count in CLIENTS
        },
        burst={name: medians(samples) for name, samples in runs[BURST_CLIENTS].items()},
        burst_size=plan.burst,
        burst_clients=BURST_CLIENTS,
    )


def _job(plane: ControlPlane, name: str, mark: str, pod: Path) -> Job:
    return Job(
        address=plane.url.removeprefix("https://"),
        ca=str(plane.ca),
        path=f"/api/v1/namespaces/{_space(name)}/pods",
        body=str(pod),
        expect=Expect(201, contains=mark),
        headers={"Authorization": f"Bearer {plane.admin.token}"},
        tolerate=0 if name in (NONE, OURS) else PEER_FAILURES,
    )


def _dry_run(job: Job, clients: int, turns: Turns) -> Job:
    path = f"{job.path}?dryRun=All"
    return dataclasses.replace(
        job, path=path, connections=clients, warmup=turns.warmup, seconds=turns.seconds
    )


def _burst(job: Job, plan: ApiTurns) -> Job:
    return dataclasses.replace(job, connections=BURST_CLIENTS, count=plan.burst)


def write_pod(pod: Manifest, folder: Path) -> Path:
    """Write the pod that is created."""
    path = folder / "pod.json"
    path.write_bytes(compact(pod))
    return path


def _space(name: str) -> str:
    return f"with-{name}"


def _has_kind(api: Api) -> bool:
    try:
        api.list(_NETWORK_KIND, NAMESPACE)
    except ApiError as error:
        # 429 while the API server makes the storage of a new kind.
        if error.code in (404, 429):
            return False
        raise
    return True


def _network() -> Manifest:
    return {
        "apiVersion": _NETWORK_KIND.api_version,
        "kind": _NETWORK_KIND.kind,
        "metadata": {"name": NETWORK, "annotations": {"k8s.v1.cni.cncf.io/resourceName": RESOURCE}},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", "type": "ipvlan", "master": "eth1"})},
    }


def _peer_configuration(server: Server, service: Service) -> Manifest:
    called = pod_creation(f"{server.name}.example.com", service, server.path)
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": server.name},
        "webhooks": [{**called, "namespaceSelector": {"matchLabels": {SCOPE: server.name}}}],
    }
