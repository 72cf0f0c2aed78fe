"""Which pod `multus-eni check` creates with dryRun=All: one that the webhook is to inject."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from check.model import DRY_RUN, KINDS, Scope
from check.sources.live import read_live
from common.kube.client import Answer
from common.kube.errors import ApiError
from common.kube.kubeconfig_client import KubeconfigClient
from common.pod_keys import INJECTION, NETWORKS

pytestmark = pytest.mark.pure

Object = dict[str, Any]
OURS = {"app.kubernetes.io/part-of": "multus-eni-injector", "app.kubernetes.io/component": "webhook"}
ENABLED = {INJECTION: "enabled"}
SYSTEM = "multus-eni-system"


class Server:
    """An API server with the release in the namespace `system`, and a webhook that works."""

    def __init__(self, system: str, *objects: Object, pods_opt_in: bool = True) -> None:
        self.pods_opt_in = pods_opt_in
        metadata = {"name": "multus-eni-injector", "namespace": system, "labels": OURS}
        volumes = [{"name": "settings", "configMap": {"name": metadata["name"]}}]
        settings = {"agent": {"image": "i"}, "injection": {"podOptIn": pods_opt_in}}
        self.objects: list[Object] = [
            {
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {"template": {"spec": {"volumes": volumes}}},
            },
            {"kind": "ConfigMap", "metadata": metadata, "data": {"settings.yaml": json.dumps(settings)}},
            *objects,
        ]
        self.created: list[tuple[str, Mapping[str, str]]] = []

    def get(self, path: str, what: str) -> Answer:
        if path != "/version":
            raise ApiError(404, "NotFound", path, what)
        return Answer({"gitVersion": "v1.36.0"}, None)

    def items(self, path: str, *_: object, **__: object) -> Iterator[Object]:
        yield from (each for each in self.objects if KINDS[each["kind"]] == path)

    def create(self, path: str, _: str, body: Object, parameters: Mapping[str, str]) -> Answer:
        assert parameters == {"dryRun": "All"}
        name = path.split("/")[4]
        self.created.append((name, body["metadata"]["labels"]))
        injected = self.selects(name, body["metadata"]["labels"])
        return Answer({"spec": {"initContainers": [{"name": "multus-eni-agent"}] if injected else []}}, None)

    def selects(self, name: str, pod: Mapping[str, str]) -> bool:
        """Decide as the selectors of the chart's MutatingWebhookConfiguration do."""
        around = next(each for each in self.items(KINDS["Namespace"]) if each["metadata"]["name"] == name)
        opted_in = around["metadata"]["labels"].get(INJECTION) == "enabled"
        asks = pod.get(INJECTION) == "enabled" and (opted_in or self.pods_opt_in)
        return name != "kube-system" and (asks or (opted_in and INJECTION not in pod))


def namespace(name: str, **labels: str) -> Object:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def asking_pod(where: str) -> Object:
    annotations = {NETWORKS: "oam"}
    metadata = {"namespace": where, "name": "web", "labels": {INJECTION: "enabled"}}
    return {"kind": "Pod", "metadata": {**metadata, "annotations": annotations}, "status": {}}


HOME = namespace(SYSTEM)
OPEN, OTHER = namespace("open", **ENABLED), namespace("apps")


@pytest.mark.parametrize(
    ("objects", "pods_opt_in", "created"),
    [
        pytest.param((OPEN,), True, ("open", {}), id="by a namespace"),
        pytest.param((OTHER, asking_pod("apps")), True, ("apps", ENABLED), id="by a pod alone"),
        pytest.param((OTHER, OPEN, asking_pod("apps")), True, ("apps", ENABLED), id="by a pod, elsewhere"),
        pytest.param((OTHER, OPEN, asking_pod("apps")), False, ("open", {}), id="by a pod, which may not"),
        pytest.param((), True, (SYSTEM, ENABLED), id="by nobody yet"),
    ],
)
def test_a_pod_is_created_where_it_is_injected(
    objects: tuple[Object, ...], pods_opt_in: bool, created: object
) -> None:
    server = Server(SYSTEM, HOME, *objects, pods_opt_in=pods_opt_in)
    found = read_live(cast("KubeconfigClient", server), Scope()).dry_run
    assert found is not None
    assert found.injected
    assert server.created == [created]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(Server("kube-system", namespace("kube-system")), id="in an excluded namespace"),
        pytest.param(Server(SYSTEM, HOME, pods_opt_in=False), id="pods may not opt in"),
    ],
)
def test_where_no_pod_is_injected_yet_the_webhook_is_not_blamed(server: Server) -> None:
    found = read_live(cast("KubeconfigClient", server), Scope())
    assert found.dry_run is None
    assert "no namespace has opted in" in found.missing[DRY_RUN]
    assert server.created == []
