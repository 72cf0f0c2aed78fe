"""What `multus-eni check` concludes where the user may read one namespace alone, or has a wrong clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from check.model import KINDS, Scope, Verdict
from check.run import run_checks
from check.sources.live import read_live
from common.kube.client import Answer
from common.kube.errors import ApiError
from common.kube.kubeconfig_client import KubeconfigClient
from common.pod_keys import NETWORKS
from tests.check.test_dry_run import ENABLED, OURS, SYSTEM, Server, namespace

pytestmark = pytest.mark.pure

Object = dict[str, Any]
NETWORK = "NetworkAttachmentDefinition"
SOME_DAY = 1_800_000_000.0


class OneNamespace(Server):
    """It lets the user read these kinds in the namespace `apps` alone."""

    def __init__(self, *kinds: str, objects: tuple[Object, ...]) -> None:
        super().__init__(SYSTEM, namespace(SYSTEM), namespace("apps", **ENABLED), *objects)
        self.paths = {KINDS[kind]: kind for kind in kinds}

    def get(self, path: str, what: str) -> Answer:
        return Answer(super().get(path, what).object, SOME_DAY)

    def items(self, path: str, *_: object, **__: object) -> Iterator[Object]:
        if path in self.paths:
            raise ApiError(403, "Forbidden", "cannot list at the cluster scope", f"list {path}")
        every = super().items(path.replace("/namespaces/apps", ""))
        own = "/namespaces/apps" in path
        yield from (each for each in every if not own or each["metadata"]["namespace"] == "apps")


def network(where: str) -> Object:
    return {"kind": NETWORK, "metadata": {"namespace": where, "name": "oam"}, "spec": {}}


def pod(networks: str) -> Object:
    metadata = {"namespace": "apps", "name": "web", "annotations": {NETWORKS: networks}}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running"},
    }


def verdicts(server: Server) -> dict[str, Verdict]:
    snapshot = read_live(cast("KubeconfigClient", server), Scope("apps"))
    return {each.check.id: each.verdict for each in run_checks(snapshot, Scope("apps"))}


@pytest.mark.parametrize(
    ("networks", "verdict"),
    [("default/oam", Verdict.OK), ("oam", Verdict.OK), ("typo", Verdict.ERROR)],
)
def test_a_network_of_a_namespace_that_cannot_be_read_is_not_missed(networks: str, verdict: Verdict) -> None:
    server = OneNamespace(NETWORK, objects=(network("default"), network("apps"), pod(networks)))
    assert verdicts(server)["pods-networks"] is verdict


@pytest.mark.parametrize(("ready", "verdict"), [(1, Verdict.OK), (0, Verdict.ERROR)])
def test_of_node_agents_that_cannot_be_read_their_daemon_set_tells(ready: int, verdict: Verdict) -> None:
    labels = {**OURS, "app.kubernetes.io/component": "node-agent"}
    metadata = {"name": "node-agent", "namespace": SYSTEM, "labels": labels}
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    counts = {"desiredNumberScheduled": 1, "numberReady": ready}
    objects = (
        {"kind": "DaemonSet", "metadata": metadata, "status": counts},
        {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "node-1"}, "status": running},
        pod("oam"),
    )
    assert verdicts(OneNamespace("Pod", objects=objects))["nodes-agents"] is verdict


def test_the_clock_of_the_cluster_counts() -> None:
    server = OneNamespace(objects=())
    assert read_live(cast("KubeconfigClient", server), Scope()).now == SOME_DAY
