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
WITHOUT_EFFECT = "multus-eni: multus-eni.io/agent-cpu has no effect: "


def container(name: str, **resources: Fields) -> Fields:
    return {"name": name, "resources": resources}


def injected(
    mode: Mode, *init: Fields, app: Fields, level: Fields | None = None, **annotations: str
) -> Outcome:
    """Inject a pod with one app container and these init containers; `level` are the pod's own resources."""
    keys = {pod_keys.PREFIX + name.replace("_", "-"): value for name, value in annotations.items()}
    metadata = {"annotations": {pod_keys.NETWORKS: "a", pod_keys.MODE: mode.value, **keys}}
    spec = {"containers": [app], "initContainers": list(init), "resources": level}
    return inject(msgspec.convert({"metadata": metadata, "spec": spec}, Pod), "apps", ENABLED, SETTINGS)


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


def test_a_size_without_effect_is_warned_of_by_itself() -> None:
    """One init container sets no CPU: the pod is Burstable, and the agent has memory alone."""
    migrate = container("migrate", requests={"memory": "64Mi"})
    outcome = injected(Mode.INIT, migrate, app=APP, agent_cpu="200m", agent_memory="96Mi")
    assert agents_resources(outcome) == {"requests": {"memory": "96Mi"}}
    (warning,) = outcome.decision.warnings
    assert warning == WITHOUT_EFFECT + "the agent gets no cpu, since not every other container sets some"


def test_a_sidecars_size_inside_pod_level_resources_is_warned_of() -> None:
    app = container("app", requests={"cpu": "100m"})
    outcome = injected(Mode.SIDECAR, app=app, level={"requests": {"cpu": "500m"}}, agent_cpu="200m")
    assert agents_resources(outcome) == {"requests": {"cpu": "0m"}}
    expected = WITHOUT_EFFECT + "a sidecar requests no cpu inside pod-level resources"
    assert expected in outcome.decision.warnings


def test_an_init_container_has_the_least_ephemeral_storage_of_all_others() -> None:
    """A LimitRange with a max alone makes that max the default request of whoever sets none."""
    small = container("a", limits={"ephemeral-storage": "1G"})
    large = container("b", requests={"ephemeral-storage": "2Gi"}, limits={"ephemeral-storage": "4Gi"})
    storage = {"ephemeral-storage": "1000000000"}
    assert agents_resources(injected(Mode.INIT, large, app=small)) == {"requests": storage, "limits": storage}
    assert agents_resources(injected(Mode.INIT, large, NOTHING, app=small)) is None
    assert agents_resources(injected(Mode.SIDECAR, large, app=small)) is None
