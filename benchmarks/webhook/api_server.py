"""What each lane adds to creating pods through a real API server.

All are configured at once, each for a namespace of its own, so that they can take turns; a namespace that
nothing is configured for is what they are compared with.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks.common.command import progress
from benchmarks.common.order import in_turn
from benchmarks.webhook import schedule
from benchmarks.webhook.creates import Turn, compare
from benchmarks.webhook.figures import CONSTANT, NO_CONDITION, NONE, POLICY, WRITTEN, Sample, Turns, medians
from benchmarks.webhook.lanes import Lane, label, space
from benchmarks.webhook.load import Expect, Job, LoadClient
from benchmarks.webhook.pods import NAMESPACE, NETWORK
from benchmarks.webhook.results import ApiServer
from benchmarks.webhook.servers import RESOURCE
from tests.cluster.api import POD, SERVICE_ACCOUNT, Api, ApiError, Kind
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import SCOPE, ready_namespace
from tests.cluster.tools import Binaries, Missing, find_binaries
from tests.cluster.waiting import wait_for

report = progress("webhook")

Manifest = dict[str, Any]

PROGRAMS = ("etcd", "kube-apiserver")
BURST_CLIENTS = 100


@dataclass(frozen=True, slots=True)
class ApiTurns:
    """How often and how long dry-run creates are measured; how often bursts, and of how many pods each.

    `turns` are by number of clients; their `repeats` are cycles of turns.
    """

    turns: Mapping[int, Turns]
    bursts: int
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


def prepare(api: Api, servers: Sequence[str]) -> None:
    """Make a namespace for each lane, and in them and in NAMESPACE what the peers look for."""
    api.create(_CRD)
    wait_for(lambda: _has_kind(api), "API for NetworkAttachmentDefinitions")
    names = (NONE, CONSTANT, NO_CONDITION, WRITTEN, POLICY, *servers)
    for name in names:
        labels = {SCOPE: label(name)}
        api.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space(name), "labels": labels}}
        )
    for namespace in (NAMESPACE, *map(space, names)):
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


def check_pods(api: Api, pods: Sequence[Manifest]) -> None:
    """Create each as a dry run where no webhook is called; raises ApiError where one is not valid."""
    for pod in pods:
        api.create(pod, space(NONE), dry_run=True)


def measure(plane: ControlPlane, lanes: Sequence[Lane], client: LoadClient, plan: ApiTurns) -> ApiServer:
    """Create pods in each lane, in turns; raises LoadError, ProcessError or ApiError."""
    with plane.client() as api:
        version = json.loads(api.raw("/version"))["gitVersion"]
        jobs = {lane.name: _job(plane, lane) for lane in lanes}
        # First what is not stored: pods fill the API server's heap, and collecting garbage takes its core.
        creates = _dry_runs(plane, jobs, client, plan.turns)
        burst = _bursts(plane, api, lanes, client, plan)
    return ApiServer(
        version=version,
        titles={lane.name: lane.title for lane in lanes},
        seconds={count: turns.seconds for count, turns in plan.turns.items()},
        creates={count: compare(turns, jobs) for count, turns in creates.items()},
        bursts=plan.bursts,
        burst={name: medians(samples) for name, samples in burst.items()},
        burst_size=plan.burst,
        burst_clients=BURST_CLIENTS,
    )


def _dry_runs(
    plane: ControlPlane, jobs: Mapping[str, Job], client: LoadClient, plan: Mapping[int, Turns]
) -> dict[int, list[Turn]]:
    """Return the turns by number of clients, and so is `plan`, which counts cycles of them."""
    creates: dict[int, list[Turn]] = {count: [] for count in plan}
    for count, each in plan.items():
        shaped = {name: _dry_run(job, count, each) for name, job in jobs.items()}
        for cycle in range(each.repeats):
            report(f"creates through the API server, by {count} at once: {cycle + 1} of {each.repeats} times")
            order = schedule.turns_of(cycle, list(jobs))
            batches = iter(client.take_turns(shaped, [name for turn in order for name in turn]))
            creates[count] += [{name: next(batches) for name in turn} for turn in order]
            plane.check()
    return creates


def _bursts(
    plane: ControlPlane, api: Api, lanes: Sequence[Lane], client: LoadClient, plan: ApiTurns
) -> dict[str, list[Sample]]:
    by_name = {lane.name: lane for lane in lanes}
    burst: dict[str, list[Sample]] = {name: [] for name in by_name}
    for turn in range(plan.bursts):
        report(f"bursts through the API server, turn {turn + 1} of {plan.bursts}")
        for name in in_turn(turn, list(by_name)):
            job = dataclasses.replace(_job(plane, by_name[name]), connections=BURST_CLIENTS, count=plan.burst)
            burst[name].append(client.run(job, by_name[name].pid))
            plane.check()
            # Each begins with an API server that holds as little as it did for the others.
            api.delete_all(POD, space(name))
    return burst


def _job(plane: ControlPlane, lane: Lane) -> Job:
    return Job(
        address=plane.url.removeprefix("https://"),
        ca=str(plane.ca),
        path=f"/api/v1/namespaces/{space(lane.name)}/pods",
        body=str(lane.pod),
        expect=Expect(201, contains=lane.mark),
        headers={"Authorization": f"Bearer {plane.admin.token}"},
        tolerate=lane.tolerate,
    )


def _dry_run(job: Job, clients: int, turns: Turns) -> Job:
    path = f"{job.path}?dryRun=All"
    return dataclasses.replace(
        job, path=path, connections=clients, warmup=turns.warmup, seconds=turns.seconds
    )


def _has_kind(api: Api) -> bool:
    try:
        api.list(_NETWORK_KIND, NAMESPACE)
    except ApiError as error:
        # 429 while the API server makes the storage of a new kind.
        if error.not_found or error.code == 429:
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
