"""The ways by which the agent's container gets into a pod, each in a namespace of its own.

Beside the webhooks: the configuration of ours answered by a constant, which is its floor; ours without
matchConditions; a MutatingAdmissionPolicy with the same patch; and a pod whose author has written the
container into it, which no webhook is called for.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.webhook.figures import CONSTANT, NO_CONDITION, NONE, OURS, POLICY, WRITTEN
from benchmarks.webhook.mutating_policy import TOKEN_VOLUME, mutating_policy
from benchmarks.webhook.pods import compact, comparable
from benchmarks.webhook.servers import Server
from common.agent_container import CONTAINER_NAME
from common.pod_keys import STATUS
from tests.cluster.api import Api
from tests.cluster.configuration import Service, pod_creation, webhook_configuration
from tests.cluster.namespaces import SCOPE, scope
from tests.cluster.waiting import wait_for
from webhook.core.patch import pointer

Manifest = dict[str, Any]

GROUP = "admissionregistration.k8s.io"
PEER_FAILURES = 30
"""A client; a peer that closes idle connections early loses calls that the API server makes on them."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One way: `pod` is the file that is created, `mark` stands in every pod that it gives.

    `pid` is the process whose CPU is measured, None where there is none but the API server; `tolerate` is
    how many creates may fail.
    """

    name: str
    title: str
    pod: Path
    mark: str = ""
    pid: int | None = None
    tolerate: int = 0


def space(name: str) -> str:
    """Return the namespace of a lane."""
    return f"with-{name.replace(' ', '-')}"


def label(name: str) -> str:
    """Return what selects that namespace."""
    return name.replace(" ", "-")


def open_lanes(api: Api, servers: Sequence[Server], ca: bytes, pod: Manifest, folder: Path) -> list[Lane]:
    """Configure all, wait until each gives its mark, and return them, the one without a webhook first.

    `servers` are ours, the one that answers a constant, and the peers. Raises ValueError where the constant
    answer makes another pod than ours.
    """
    plain = _write(folder, "pod", pod)
    services = {server.name: Service(f"https://{server.address}", ca) for server in servers}
    _configure_ours(api, services[OURS], services[CONSTANT])
    lanes = [Lane(NONE, "no webhook", plain)]
    for server in servers:
        ours = server.name in (OURS, CONSTANT)
        if not ours:
            api.create(_peer_configuration(server, services[server.name]))
        tolerate = 0 if ours else PEER_FAILURES
        lanes.append(Lane(server.name, server.title, plain, server.mark, server.process.pid, tolerate))
    (serve,) = (lane for lane in lanes if lane.name == OURS)
    lanes.append(dataclasses.replace(serve, name=NO_CONDITION, title="ours without matchConditions"))
    _await_mark(api, serve, pod)
    patched = api.create(pod, space(OURS), dry_run=True).object
    written = _write(folder, "written", _with(pod, patched))
    lanes.append(Lane(WRITTEN, "no webhook, the container is in the manifest", written, CONTAINER_NAME))
    operations = _operations(pod, patched)
    for manifest in mutating_policy(_policy_version(api), POLICY, operations, scope(label(POLICY))):
        api.create(manifest)
    lanes.append(Lane(POLICY, "a MutatingAdmissionPolicy with the same patch", plain, CONTAINER_NAME))
    for lane in lanes:
        _await_mark(api, lane, json.loads(lane.pod.read_bytes()))
    answered = api.create(pod, space(CONSTANT), dry_run=True).object
    if comparable(answered) != comparable(patched):
        raise ValueError(f"the pods of {OURS} and {CONSTANT} are not alike")
    return lanes


def _configure_ours(api: Api, ours: Service, constant: Service) -> None:
    api.create(webhook_configuration(ours, scope=scope(label(OURS))))
    api.create(webhook_configuration(constant, name=CONSTANT, scope=scope(label(CONSTANT))))
    unconditional = webhook_configuration(ours, name=label(NO_CONDITION), scope=scope(label(NO_CONDITION)))
    for entry in unconditional["webhooks"]:
        del entry["matchConditions"]
    api.create(unconditional)


def _peer_configuration(server: Server, service: Service) -> Manifest:
    called = pod_creation(f"{server.name}.example.com", service, server.path)
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": server.name},
        "webhooks": [{**called, "namespaceSelector": {"matchLabels": {SCOPE: label(server.name)}}}],
    }


def _policy_version(api: Api) -> str:
    """Return the newest version that serves MutatingAdmissionPolicies; raises LookupError if none does."""
    for version in ("v1", "v1beta1"):
        resources = json.loads(api.raw(f"/apis/{GROUP}/{version}"))["resources"]
        if any(each["kind"] == "MutatingAdmissionPolicy" for each in resources):
            return f"{GROUP}/{version}"
    raise LookupError("this API server has no MutatingAdmissionPolicies")


def _await_mark(api: Api, lane: Lane, pod: Manifest) -> None:
    def marked() -> bool:
        return lane.mark in json.dumps(api.create(pod, space(lane.name), dry_run=True).object)

    wait_for(marked, f"pod changed by {lane.title}")


def _write(folder: Path, name: str, pod: Manifest) -> Path:
    path = folder / f"{name}.json"
    path.write_bytes(compact(pod))
    return path


def _with(pod: Manifest, patched: Manifest) -> Manifest:
    """Write the container and the annotation into a pod, without the mount that the API server adds."""
    agent = copy.deepcopy(patched["spec"]["initContainers"][0])
    mounts = agent.get("volumeMounts", [])
    agent["volumeMounts"] = [each for each in mounts if not each["name"].startswith(TOKEN_VOLUME)]
    written = copy.deepcopy(pod)
    written["spec"]["initContainers"] = [agent, *written["spec"].get("initContainers", [])]
    written["metadata"].setdefault("annotations", {})[STATUS] = patched["metadata"]["annotations"][STATUS]
    return written


def _operations(pod: Manifest, patched: Manifest) -> list[Manifest]:
    """Return the patch that made the webhook's pod."""
    agent = patched["spec"]["initContainers"][0]
    several = bool(pod["spec"].get("initContainers"))
    where = ("spec", "initContainers", 0) if several else ("spec", "initContainers")
    return [
        {"op": "add", "path": pointer(*where), "value": agent if several else [agent]},
        {
            "op": "add",
            "path": pointer("metadata", "annotations", STATUS),
            "value": patched["metadata"]["annotations"][STATUS],
        },
    ]
