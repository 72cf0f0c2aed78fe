"""The QoS class that the API server computes for a pod is the same with the agent."""

from __future__ import annotations

import copy

import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION, MODE
from tests.cluster.api import Manifest
from tests.cluster.manifests import container, multus_pod
from tests.cluster.namespaces import Namespaces, names_of

pytestmark = pytest.mark.cluster


SMALL = {"cpu": "100m", "memory": "64Mi"}
LARGE = {"cpu": "2", "memory": "1Gi"}
MEMORY = {"memory": "64Mi"}


def sized(
    requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, name: str = "app"
) -> Manifest:
    """Make a container with these resources."""
    resources = {"requests": requests, "limits": limits}
    return container(name, resources={kind: value for kind, value in resources.items() if value})


PODS: dict[str, tuple[str, Manifest]] = {
    "nothing set": ("BestEffort", {"containers": [sized()]}),
    "two of nothing": ("BestEffort", {"containers": [sized(name="a"), sized(name="b")]}),
    "equal": ("Guaranteed", {"containers": [sized(SMALL, SMALL)]}),
    "whole cores": ("Guaranteed", {"containers": [sized(LARGE, LARGE, "a"), sized(SMALL, SMALL, "b")]}),
    "limits only": ("Guaranteed", {"containers": [sized(None, SMALL)]}),
    "equal, with an init container": (
        "Guaranteed",
        {"containers": [sized(SMALL, SMALL)], "initContainers": [sized(LARGE, LARGE, "own")]},
    ),
    "requests only": ("Burstable", {"containers": [sized(SMALL)]}),
    "one of two": ("Burstable", {"containers": [sized(SMALL, SMALL, "a"), sized(name="b")]}),
    "memory only": ("Burstable", {"containers": [sized(MEMORY, MEMORY)]}),
    "limits above requests": ("Burstable", {"containers": [sized(SMALL, LARGE)]}),
    "of the pod, equal": (
        "Guaranteed",
        {"containers": [sized()], "resources": {"requests": LARGE, "limits": LARGE}},
    ),
    "of the pod, requests": ("Burstable", {"containers": [sized()], "resources": {"requests": SMALL}}),
}


@pytest.mark.parametrize("mode", ["init", "sidecar"])
@pytest.mark.parametrize("case", PODS)
def test_the_class_stays(namespaces: Namespaces, case: str, mode: str) -> None:
    expected, spec = PODS[case]
    namespace = namespaces.make({INJECTION: "enabled", MODE: mode})
    without = multus_pod("without", labels={INJECTION: "disabled"}, **copy.deepcopy(spec))
    assert namespace.create(without).object["status"]["qosClass"] == expected
    injected = namespace.create(multus_pod("with", **copy.deepcopy(spec))).object
    assert names_of(injected["spec"]["initContainers"])[0] == CONTAINER_NAME
    assert injected["status"]["qosClass"] == expected
