"""What the agent requests beside containers that set nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from common import pod_keys
from common.agent_settings import Mode
from webhook.core.inject import Outcome, inject
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.pod import Pod
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

Fields = dict[str, Any]

SETTINGS = parse_settings("agent: {image: i}")
ENABLED = NamespacePolicy(pod_keys.Injection.ENABLED)
NOTHING: Fields = {"name": "migrate"}


def container(name: str, **resources: Fields) -> Fields:
    return {"name": name, "resources": resources}


def injected(mode: Mode, *init: Fields, app: Fields, **annotations: str) -> Outcome:
    """Inject a pod with one app container and these init containers."""
    keys = {pod_keys.PREFIX + name.replace("_", "-"): value for name, value in annotations.items()}
    metadata = {"annotations": {pod_keys.NETWORKS: "a", pod_keys.MODE: mode.value, **keys}}
    pod = {"metadata": metadata, "spec": {"containers": [app], "initContainers": list(init)}}
    return inject(msgspec.convert(pod, Pod), "apps", ENABLED, SETTINGS)


def agents_resources(outcome: Outcome) -> Fields | None:
    agent: Fields = outcome.operations[0]["value"]
    return agent.get("resources")


APP = container("app", requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "1Gi"})


def test_a_sidecar_requests_what_all_that_lasts_requests() -> None:
    found = agents_resources(injected(Mode.SIDECAR, NOTHING, app=APP))
    assert found == {"requests": {"cpu": "50m", "memory": "64Mi"}}
    proxy = {**container("proxy", requests={"cpu": "10m"}), "restartPolicy": "Always"}
    for init in ((proxy, NOTHING), (NOTHING, proxy)):
        assert agents_resources(injected(Mode.SIDECAR, *init, app=APP)) == {"requests": {"cpu": "50m"}}
    unlimited = {**NOTHING, "restartPolicy": "Always"}
    assert agents_resources(injected(Mode.SIDECAR, unlimited, app=APP)) is None


def test_a_sidecar_is_not_called_the_largest_beside_a_larger_init_container() -> None:
    tiny = container("app", requests={"cpu": "20m"})
    large = container("large", requests={"cpu": "200m"})
    (warning,) = injected(Mode.SIDECAR, large, NOTHING, app=tiny).decision.warnings
    assert warning.startswith("multus-eni: the sidecar's resources add to the pod's")


def test_an_init_container_requests_nothing_beside_one_that_sets_nothing() -> None:
    assert agents_resources(injected(Mode.INIT, NOTHING, app=APP)) is None
