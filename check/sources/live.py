"""Reads a live cluster by its API server, and changes nothing: its test pod is created with dryRun=All."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from check.cluster import Cluster
from check.installation import PART_OF, PROJECT
from check.model import (
    AWS,
    DRY_RUN,
    ENDPOINTS,
    GROUPS,
    KINDS,
    NODE_STATUS,
    RESERVATIONS,
    DryRun,
    Object,
    Resource,
    Scope,
    Snapshot,
    as_objects,
    is_ready,
    node_name,
    pod_spec,
)
from check.reader import read_resources
from common.agent_container import CONTAINER_NAME
from common.kube.errors import ApiError
from common.kube.kubeconfig_client import KubeconfigClient
from common.object_fields import as_map
from common.pod_keys import INJECTION, NETWORKS, Injection
from ipagent.node_network_api import LEASE

OURS_ALONE = {
    "ConfigMap": {"labelSelector": f"{PART_OF}={PROJECT}"},
    "Lease": {"fieldSelector": f"metadata.name={LEASE}"},
}
"""Kinds of which only the injector's own objects are read."""
READ_ALONE = frozenset(
    {
        "Namespace",
        "Pod",
        "Secret",
        "Event",
        "LimitRange",
        "ResourceQuota",
        "NetworkPolicy",
        "NetworkAttachmentDefinition",
    }
)
"""Kinds that may be known of one namespace alone. The injector's own objects are elsewhere."""
METADATA_ALONE = frozenset({"Secret"})
NAMES = "multus-eni-check"
OURS = "multus-eni.io"
"""In the messages of our webhook's entries and of the chart's policies."""
MAX_NAMESPACES = 5
"""In which a pod is tried: some may refuse it for a reason of their own."""
MAX_NODES = 50
"""Node agents that are asked: those of nodes with Multus pods."""
AT_ONCE = 8
EXEC_TIMEOUT = 20
"""Seconds for the answer of a node agent."""
MAX_REFUSAL = 500
"""Characters of a refusal that are shown."""


def read_live(client: KubeconfigClient, scope: Scope) -> Snapshot:
    """Read a cluster. Raises Unreachable, and ApiError where not even the version may be read."""
    answer = client.get("/version", "read the API server's version")
    # A laptop's clock may be wrong: what is in the cluster is dated by the cluster's.
    now = time.time() if answer.time is None else answer.time
    version = str(answer.object.get("gitVersion", ""))
    resources: dict[str, tuple[Resource, ...]] = {}
    missing: dict[str, str] = {}
    unserved: set[str] = set()
    partial: set[str] = set()
    for kind, path in KINDS.items():
        try:
            resources[kind], whole = _read(client, kind, path, scope)
            if not whole:
                partial.add(kind)
        except ApiError as error:
            if error.not_found:
                unserved.add(kind)
            else:
                missing[kind] = f"{kind}s can't be read: {error.message}"
    without = dict.fromkeys((AWS, RESERVATIONS, ENDPOINTS, GROUPS), "only --aws asks EC2")
    snapshot = Snapshot(
        now, resources, version, missing | without, frozenset(unserved), partial=frozenset(partial)
    )
    if scope.pre:
        return snapshot
    snapshot = _with_certificate(client, snapshot)
    return _with_node_statuses(client, _with_dry_run(client, snapshot, scope), scope)


def _read(client: KubeconfigClient, kind: str, path: str, scope: Scope) -> tuple[tuple[Resource, ...], bool]:
    """Return the objects of a kind, and whether they are those of all namespaces."""
    whole = True
    parameters = OURS_ALONE.get(kind)
    bare = kind in METADATA_ALONE
    try:
        found: list[Object] = list(client.items(path, f"list {kind}s", parameters, metadata_only=bare))
    except ApiError as error:
        if not error.forbidden or not scope.namespace or kind not in READ_ALONE:
            raise
        # Who may read one namespace alone is told of that one.
        found, whole = _of_one_namespace(client, kind, path, scope.namespace), False
    return tuple(one for each in found for one in read_resources({**each, "kind": kind})), whole


def _of_one_namespace(client: KubeconfigClient, kind: str, path: str, namespace: str) -> list[Object]:
    name = quote(namespace, safe="")
    if kind == "Namespace":
        return [client.get(f"{path}/{name}", f"read Namespace {namespace}").object]
    head, _, plural = path.rpartition("/")
    own = f"{head}/namespaces/{name}/{plural}"
    bare = kind in METADATA_ALONE
    return list(client.items(own, f"list {kind}s", OURS_ALONE.get(kind), metadata_only=bare))


def _with_certificate(client: KubeconfigClient, snapshot: Snapshot) -> Snapshot:
    """Read the one Secret whose certificates count; of its keys nothing is kept."""
    webhook = Cluster(snapshot, Scope()).installation.webhook
    if webhook is None or "Secret" in snapshot.missing:
        return snapshot
    volumes = as_objects(pod_spec(webhook).get("volumes"))
    names = [as_map(each.get("secret")).get("secretName") for each in volumes]
    read: list[Resource] = []
    for name in filter(None, names):
        path = f"/api/v1/namespaces/{webhook.namespace}/secrets/{quote(str(name), safe='')}"
        try:
            found = client.get(path, f"read Secret {webhook.namespace}/{name}").object
        except ApiError as error:
            if error.not_found:
                continue
            return _without(snapshot, "Secret", f"Secrets can't be read: {error.message}")
        read += read_resources({**found, "kind": "Secret"})
    keys = {each.key for each in read}
    others = [each for each in snapshot.all("Secret") if each.key not in keys]
    return replace(snapshot, resources={**snapshot.resources, "Secret": (*others, *read)})


def _with_dry_run(client: KubeconfigClient, snapshot: Snapshot, scope: Scope) -> Snapshot:
    cluster = Cluster(snapshot, scope)
    if cluster.installation.webhook is None:
        return snapshot
    places = _places(cluster)
    why = "" if places else "no namespace has opted in, and where the webhook is a pod can't by its own label"
    for namespace, labels in places:
        try:
            return replace(snapshot, dry_run=_create(client, namespace, labels))
        except ApiError as error:
            if OURS in error.message:
                refused = DryRun(namespace, injected=False, message=error.message[:MAX_REFUSAL])
                return replace(snapshot, dry_run=refused)
            # A quota, Pod Security, a policy of somebody else, a missing right.
            why = why or f"a Multus pod is refused in {namespace}: {error.message[:MAX_REFUSAL]}"
    return _without(snapshot, DRY_RUN, why)


def _places(cluster: Cluster) -> list[tuple[str, dict[str, str]]]:
    """Return namespaces in which a pod is injected, each with the labels that it needs for it."""
    asking = {INJECTION: Injection.ENABLED.value}
    if cluster.injecting:
        found = sorted(cluster.injecting)[:MAX_NAMESPACES]
        return [(each, {} if each in cluster.opted_in else asking) for each in found]
    own, settings = cluster.installation.namespace, cluster.settings
    return [(own, asking)] if settings.pod_opt_in and own not in settings.excluded_namespaces else []


def _create(client: KubeconfigClient, namespace: str, labels: dict[str, str]) -> DryRun:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
    made = client.create(path, "create a pod with dryRun=All", _pod(labels), {"dryRun": "All"}).object
    containers = as_objects(as_map(made.get("spec")).get("initContainers"))
    return DryRun(namespace, injected=any(each.get("name") == CONTAINER_NAME for each in containers))


def _pod(labels: dict[str, str]) -> dict[str, Any]:
    """Make a pod that Pod Security `restricted` admits; nothing of it is stored, and no image is pulled."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": f"{NAMES}-", "labels": labels, "annotations": {NETWORKS: NAMES}},
        "spec": {"containers": [{"name": "check", "image": NAMES, "securityContext": security}]},
    }


def _with_node_statuses(client: KubeconfigClient, snapshot: Snapshot, scope: Scope) -> Snapshot:
    cluster = Cluster(snapshot, scope)
    nodes = {node_name(pod) for pod in cluster.pods}
    agents = [
        pod for pod in cluster.installation.pods_of("node-agent") if is_ready(pod) and node_name(pod) in nodes
    ]
    if not agents:
        return _without(snapshot, NODE_STATUS, "no node agent runs beside a Multus pod")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda pod: _ask(client, pod), agents[:MAX_NODES]))
    found = {str(answer["node"]): answer for answer in answers if "node" in answer}
    if found:
        return replace(snapshot, node_statuses=found)
    why = next((str(answer["error"]) for answer in answers if "error" in answer), "no answer")
    return _without(snapshot, NODE_STATUS, f"no node agent answers `ipagent node status`: {why}")


def _without(snapshot: Snapshot, what: str, why: str) -> Snapshot:
    return replace(snapshot, missing={**snapshot.missing, what: why})


def _ask(client: KubeconfigClient, pod: Resource) -> Object:
    """Run `ipagent node status` in a node agent's pod; what goes wrong is the answer's `error`."""
    # Late: websockets are only needed here.
    from kubernetes.client import CoreV1Api  # noqa: PLC0415
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from kubernetes.stream import stream  # noqa: PLC0415
    from websocket import WebSocketException  # noqa: PLC0415

    # An ApiClient of its own: stream() exchanges its transport, which is no longer used after that.
    own = CoreV1Api(type(client.api)(client.api.configuration))
    try:
        session = stream(
            own.connect_get_namespaced_pod_exec,
            pod.name,
            pod.namespace,
            container="node-agent",
            command=["ipagent", "node", "status", "--output", "json"],
            stdout=True,
            stderr=False,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
        try:
            session.run_forever(timeout=EXEC_TIMEOUT)
            found = json.loads(session.read_all())
        finally:
            # close() leaves the socket open where the other side was the first to close.
            session.close()
            session.sock.shutdown()
    except ApiException as error:
        return {"error": " ".join(str(error.reason).split())[:MAX_REFUSAL]}
    except (OSError, ValueError, RecursionError, WebSocketException) as error:
        return {"error": str(error)[:MAX_REFUSAL]}
    return found if isinstance(found, dict) else {}
