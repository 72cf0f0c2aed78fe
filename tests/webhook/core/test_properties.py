"""What holds for every pod, whatever is in it."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import pod_keys
from common.agent_container import (
    CONTAINER_NAME,
    RUN_VOLUME,
    TOKEN_AUDIENCE,
    TOKEN_DIRECTORY,
    TOKEN_FILE,
    TOKEN_VOLUME,
)
from common.agent_settings import Backend
from common.quantity import parse_quantity
from tests.webhook.pods import applied, pods
from webhook.core.inject import Outcome, inject
from webhook.core.namespace_policy import ROUTES
from webhook.core.pod import Pod
from webhook.core.reasons import Reason
from webhook.multus.networks import parse_networks
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

SETTINGS = {backend: parse_settings(f"agent: {{image: i, backend: {backend}}}") for backend in Backend}
backends = st.sampled_from(Backend)
namespaces = st.sampled_from([policy for path, policy in ROUTES.items() if "/namespace/" in path])


def decided(pod: dict[str, Any], namespace: Any, backend: Backend = Backend.DIRECT) -> Outcome:
    return inject(msgspec.convert(pod, Pod), "apps", namespace, SETTINGS[backend])


def patched(pod: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    return applied(pod, outcome.operations)


def agent_of(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod["spec"]["initContainers"][0]
    assert container["name"] == CONTAINER_NAME
    return container


def counted(amounts: dict[str, str]) -> dict[str, Decimal]:
    """Return what counts for the class: supportedQoSComputeResources, CPU and memory."""
    return {name: parse_quantity(amount) for name, amount in amounts.items() if name in ("cpu", "memory")}


def kubelet_qos(pod: dict[str, Any]) -> str:
    """ComputePodQOS of k8s.io/kubernetes/pkg/apis/core/v1/helper/qos, line by line."""
    requests: dict[str, Decimal] = {}
    limits: dict[str, Decimal] = {}
    guaranteed = True
    level = pod["spec"].get("resources")
    all_containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
    if level:
        for kind, found in (("requests", requests), ("limits", limits)):
            found.update(counted(level.get(kind, {})))
        for name, limit in limits.items():
            requests.setdefault(name, limit)  # SetDefaults_Pod
        guaranteed = {"cpu", "memory"} <= limits.keys()
    else:
        for container in all_containers:
            asked = container.get("resources", {})
            container_limits = counted(asked.get("limits", {}))
            container_requests = {**container_limits, **counted(asked.get("requests", {}))}
            for name, amount in container_requests.items():
                requests[name] = requests.get(name, Decimal(0)) + amount
            for name, amount in container_limits.items():
                limits[name] = limits.get(name, Decimal(0)) + amount
            guaranteed = guaranteed and {"cpu", "memory"} <= container_limits.keys()
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


@given(pods(), namespaces, backends)
def test_the_agent_is_sized_by_the_kubelets_qos_class(
    pod: dict[str, Any], namespace: Any, backend: Backend
) -> None:
    resources = agent_of(patched(pod, decided(pod, namespace, backend))).get("resources")
    qos = kubelet_qos(pod)
    if qos == "BestEffort":
        assert resources is None
    elif qos == "Guaranteed" and "resources" not in pod["spec"]:
        assert resources is not None
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert resources["requests"] == resources["limits"]


@given(pods(), namespaces, backends)
def test_the_qos_class_never_changes(pod: dict[str, Any], namespace: Any, backend: Backend) -> None:
    assert kubelet_qos(patched(pod, decided(pod, namespace, backend))) == kubelet_qos(pod)


@given(pods(), namespaces, backends, st.dictionaries(st.sampled_from(["oam", "sig"]), st.integers(1, 9)))
def test_capacity_changes_nothing_but_the_agents_extended_resources(
    pod: dict[str, Any], namespace: Any, backend: Backend, units: dict[str, int]
) -> None:
    """QoS class, quotas and LimitRanges of CPU and memory: as without it, and no other container changes."""
    without = patched(pod, decided(pod, namespace, backend))
    plan = decided(pod, namespace, backend).decision.agent
    assert plan is not None
    attachments = parse_networks(pod["metadata"]["annotations"][pod_keys.NETWORKS], "apps").networks
    networks = {
        f"{each.namespace}/{each.name}": network for each, network in zip(attachments, units, strict=False)
    }
    settings = replace(SETTINGS[backend], networks=networks)
    found = patched(pod, inject(msgspec.convert(pod, Pod), "apps", namespace, settings))
    assert kubelet_qos(found) == kubelet_qos(pod)
    resources = agent_of(found).get("resources", {})
    managed = [each for each in attachments if each.interface in plan.settings.interfaces]
    named = (networks.get(f"{each.namespace}/{each.name}") for each in managed)
    keys = {f"multus-eni.io/{each}" for each in named if each}
    for amounts in resources.values():
        assert {key for key in amounts if "/" in key} == keys
        for key in [key for key in amounts if "/" in key]:
            del amounts[key]
    agent = agent_of(found)
    agent["resources"] = {kind: amounts for kind, amounts in resources.items() if amounts}
    if not agent["resources"]:
        del agent["resources"]
    assert found == without


@given(pods(), namespaces, backends)
def test_the_agents_cpu_never_reaches_a_core(pod: dict[str, Any], namespace: Any, backend: Backend) -> None:
    resources = agent_of(patched(pod, decided(pod, namespace, backend))).get("resources", {})
    for amounts in resources.values():
        assert 0 <= parse_quantity(amounts.get("cpu", "1m")) < 1


@given(pods(), namespaces, backends)
def test_the_agents_request_is_never_above_its_limit(
    pod: dict[str, Any], namespace: Any, backend: Backend
) -> None:
    resources = agent_of(patched(pod, decided(pod, namespace, backend))).get("resources", {})
    for name, limit in resources.get("limits", {}).items():
        assert parse_quantity(resources["requests"][name]) <= parse_quantity(limit)


@given(pods(), namespaces, backends)
def test_only_what_is_meant_to_change_changes(pod: dict[str, Any], namespace: Any, backend: Backend) -> None:
    result = patched(pod, decided(pod, namespace, backend))
    agent = agent_of(result)
    del result["spec"]["initContainers"][0]
    if not result["spec"]["initContainers"] and "initContainers" not in pod["spec"]:
        del result["spec"]["initContainers"]
    del result["metadata"]["annotations"][pod_keys.STATUS]
    sidecar = agent.get("restartPolicy") == "Always"
    added = [RUN_VOLUME] * sidecar + [TOKEN_VOLUME] * (backend is Backend.NODE)
    for name in added:
        assert result["spec"]["volumes"].pop()["name"] == name
    if added and not result["spec"]["volumes"] and "volumes" not in pod["spec"]:
        del result["spec"]["volumes"]
    assert result == pod


@given(pods(), namespaces, st.sampled_from([True, False, None]))
def test_with_the_backend_node_the_agent_always_has_its_token(
    pod: dict[str, Any], namespace: Any, automount: bool | None
) -> None:
    pod["spec"]["automountServiceAccountToken"] = automount
    result = patched(pod, decided(pod, namespace, Backend.NODE))
    (mount,) = (m for m in agent_of(result)["volumeMounts"] if m["name"] == TOKEN_VOLUME)
    (volume,) = (v for v in result["spec"]["volumes"] if v["name"] == TOKEN_VOLUME)
    (source,) = volume["projected"]["sources"]
    assert (mount["mountPath"], mount["readOnly"]) == (TOKEN_DIRECTORY, True)
    assert source["serviceAccountToken"]["audience"] == TOKEN_AUDIENCE
    assert f"{mount['mountPath']}/{source['serviceAccountToken']['path']}" == TOKEN_FILE


@given(pods(), namespaces, backends, backends)
def test_injecting_twice_is_injecting_once_even_with_another_backend(
    pod: dict[str, Any], namespace: Any, backend: Backend, later: Backend
) -> None:
    again = decided(patched(pod, decided(pod, namespace, backend)), namespace, later)
    assert (again.decision.reason, again.operations) == (Reason.ALREADY_INJECTED, ())


@given(pods(), namespaces, backends, backends)
def test_a_pod_that_lost_its_agent_gets_one_again(
    pod: dict[str, Any], namespace: Any, backend: Backend, later: Backend
) -> None:
    left = patched(pod, decided(pod, namespace, backend))
    agent = left["spec"]["initContainers"].pop(0)
    outcome = decided(left, namespace, later)
    assert outcome.decision.agent is not None
    again = patched(left, outcome)
    assert (agent_of(again) == agent) is (backend is later)
    names = [volume["name"] for volume in again["spec"].get("volumes", [])]
    assert len(names) == len(set(names))


@given(pods(), namespaces, backends, st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
def test_after_another_injector_the_agent_is_first_again(
    pod: dict[str, Any], namespace: Any, backend: Backend, others: list[str]
) -> None:
    injected = patched(pod, decided(pod, namespace, backend))
    injected["spec"]["initContainers"][:0] = [{"name": f"other-{name}"} for name in others]
    result = patched(injected, decided(injected, namespace, backend))
    agent_of(result)
    order = [container["name"] for container in injected["spec"]["initContainers"]]
    order.remove(CONTAINER_NAME)
    assert [container["name"] for container in result["spec"]["initContainers"][1:]] == order
