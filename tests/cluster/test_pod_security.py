"""Pod Security `restricted`, enforced by the API server: a pod that it admits is admitted with the agent."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from common.pod_keys import INJECTION, MODE
from tests.cluster.api import ApiError
from tests.cluster.manifests import container, multus_pod
from tests.cluster.namespaces import Namespace, Namespaces, mode_of
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

ENFORCED = {"pod-security.kubernetes.io/enforce": "restricted", INJECTION: "enabled"}
OF_POD = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
OF_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
BY_CONTAINER = {"containers": [container(securityContext={**OF_POD, **OF_CONTAINER})]}
PODS: dict[str, dict[str, Any]] = {
    # Nothing of the pod's own context helps the agent.
    "by the container": BY_CONTAINER,
    "by the pod": {"securityContext": OF_POD, "containers": [container(securityContext=OF_CONTAINER)]},
    "with groups": {
        **BY_CONTAINER,
        "securityContext": {
            "fsGroup": 2000,
            "supplementalGroups": [3000],
            "supplementalGroupsPolicy": "Strict",
        },
    },
    "with a user namespace": {**BY_CONTAINER, "hostUsers": False},
    "with shared processes": {**BY_CONTAINER, "shareProcessNamespace": True},
}


def refused(namespace: Namespace) -> bool:
    """Tell whether Pod Security refuses a pod that says nothing."""
    try:
        namespace.create(multus_pod("plain", labels={INJECTION: "disabled"}), dry_run=True)
    except ApiError as error:
        return 'violates PodSecurity "restricted' in error.message
    return False


@pytest.mark.parametrize("mode", ["init", "sidecar"])
def test_restricted_admits_the_agent(namespaces: Namespaces, mode: str) -> None:
    namespace = namespaces.make({**ENFORCED, MODE: mode})
    wait_for(lambda: refused(namespace), "enforcement")
    for name, spec in PODS.items():
        created = namespace.create(multus_pod(**copy.deepcopy(spec)), dry_run=True)
        assert mode_of(created.object) == mode, name
        assert created.warnings == (), name
