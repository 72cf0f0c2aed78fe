"""Pods as few people write them: what the API server stores of each once the webhook has answered."""

from __future__ import annotations

from typing import Any

import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION, MODE, STATUS
from tests.cluster.manifests import container, multus_pod
from tests.cluster.namespaces import Namespaces, mode_of, names_of
from webhook.multus.networks import MAX_ANNOTATIONS

pytestmark = pytest.mark.cluster

ENABLED = {INJECTION: "enabled"}
MODES = ("init", "sidecar")


ODD: dict[str, dict[str, Any]] = {
    "quantities as numbers": {
        "containers": [
            container(resources={"limits": {"cpu": 1, "memory": 134217728}, "requests": {"cpu": 0.5}})
        ]
    },
    "quantities with exponents": {
        "containers": [container(resources={"limits": {"cpu": "1e0", "memory": "1e9"}})]
    },
    "empty lists": {"initContainers": [], "volumes": [], "imagePullSecrets": [], "tolerations": []},
    "nulls": {"initContainers": None, "volumes": None, "imagePullSecrets": None, "nodeSelector": None},
    "a node already": {"nodeName": "node-1"},
    "sidecars before and after": {
        "initContainers": [
            container("first", restartPolicy="Always"),
            container("second"),
            container("third", restartPolicy="Always"),
        ]
    },
    "hundreds of containers": {"containers": [container(f"c{number}") for number in range(300)]},
    "no service links, own host name": {"enableServiceLinks": False, "hostname": "a", "subdomain": "b"},
    "user namespace": {"hostUsers": False},
    "Linux by name": {"os": {"name": "linux"}},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", ODD)
def test_an_odd_pod_is_stored_with_the_agent_in_front(namespaces: Namespaces, case: str, mode: str) -> None:
    namespace = namespaces.make(ENABLED)
    manifest = multus_pod(annotations={MODE: mode}, **ODD[case])
    stored = namespace.create(manifest).object
    assert mode_of(stored) == mode
    own = names_of(ODD[case].get("initContainers") or [])
    assert names_of(stored["spec"]["initContainers"]) == [CONTAINER_NAME, *own]
    assert names_of(stored["spec"]["containers"]) == names_of(manifest["spec"]["containers"])


def test_labels_and_annotations_without_values_are_empty_texts(namespaces: Namespaces) -> None:
    """Which is how `multus-eni explain` reads them in a manifest."""
    namespace = namespaces.make(ENABLED)
    manifest = multus_pod(labels={}, annotations={"example.com/note": ""})
    manifest["metadata"]["labels"] = {"example.com/label": None}
    manifest["metadata"]["annotations"]["example.com/note"] = None
    stored = namespace.create(manifest).object
    assert mode_of(stored) == "init"
    assert stored["metadata"]["labels"]["example.com/label"] == ""
    assert stored["metadata"]["annotations"]["example.com/note"] == ""


def test_a_pod_whose_annotations_are_full_is_admitted_with_the_agent(namespaces: Namespaces) -> None:
    namespace = namespaces.make(ENABLED)
    full = multus_pod(annotations={"example.com/note": ""})
    used = sum(len(key) + len(value) for key, value in full["metadata"]["annotations"].items())
    full["metadata"]["annotations"]["example.com/note"] = "a" * (MAX_ANNOTATIONS - used)
    answer = namespace.create(full)
    assert mode_of(answer.object) == "init"
    assert STATUS not in answer.object["metadata"]["annotations"]
    assert any(STATUS in warning for warning in answer.warnings)
