"""What holds for every pod, whatever is in it."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multus_eni import contract
from multus_eni.webhook.config import parse_settings
from multus_eni.webhook.entries import ENTRIES
from multus_eni.webhook.inject import Outcome, inject
from multus_eni.webhook.pod import Pod
from multus_eni.webhook.quantity import parse_quantity
from multus_eni.webhook.reasons import Reason
from multus_eni.webhook.resources import qos_class
from tests.webhook.pods import applied, pods

pytestmark = pytest.mark.pure

SETTINGS = parse_settings("agent: {image: i}")
namespaces = st.sampled_from([policy for path, policy in ENTRIES.items() if "/namespace/" in path])


def decided(pod: dict[str, Any], namespace: Any) -> Outcome:
    return inject(msgspec.convert(pod, Pod), "apps", namespace, SETTINGS)


def patched(pod: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    return applied(pod, outcome.operations)


def agent_of(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod["spec"]["initContainers"][0]
    assert container["name"] == contract.CONTAINER_NAME
    return container


def kubelet_qos(pod: dict[str, Any]) -> str:
    """ComputePodQOS of k8s.io/kubernetes/pkg/apis/core/v1/helper/qos, line by line."""
    requests: dict[str, Decimal] = {}
    limits: dict[str, Decimal] = {}
    guaranteed = True
    level = pod["spec"].get("resources")
    all_containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
    if level:
        for kind, found in (("requests", requests), ("limits", limits)):
            found.update({k: parse_quantity(v) for k, v in level.get(kind, {}).items()})
        for name, limit in limits.items():
            requests.setdefault(name, limit)  # SetDefaults_Pod
        guaranteed = {"cpu", "memory"} <= limits.keys()
    else:
        for container in all_containers:
            asked = container.get("resources", {})
            container_limits = {k: parse_quantity(v) for k, v in asked.get("limits", {}).items()}
            container_requests = {
                **container_limits,
                **{k: parse_quantity(v) for k, v in asked.get("requests", {}).items()},
            }
            for name, amount in container_requests.items():
                requests[name] = requests.get(name, Decimal(0)) + amount
            for name, amount in container_limits.items():
                limits[name] = limits.get(name, Decimal(0)) + amount
            guaranteed = guaranteed and {"cpu", "memory"} <= container_limits.keys()
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


@given(pods())
def test_our_qos_class_is_the_kubelets(pod: dict[str, Any]) -> None:
    assert qos_class(msgspec.convert(pod, Pod)).value == kubelet_qos(pod)


@given(pods(), namespaces)
def test_the_qos_class_never_changes(pod: dict[str, Any], namespace: Any) -> None:
    assert kubelet_qos(patched(pod, decided(pod, namespace))) == kubelet_qos(pod)


@given(pods(), namespaces)
def test_the_agents_cpu_never_reaches_a_core(pod: dict[str, Any], namespace: Any) -> None:
    resources = agent_of(patched(pod, decided(pod, namespace))).get("resources", {})
    for amounts in resources.values():
        assert 0 <= parse_quantity(amounts.get("cpu", "1m")) < 1


@given(pods(), namespaces)
def test_the_agents_request_is_never_above_its_limit(pod: dict[str, Any], namespace: Any) -> None:
    resources = agent_of(patched(pod, decided(pod, namespace))).get("resources", {})
    for name, limit in resources.get("limits", {}).items():
        assert parse_quantity(resources["requests"][name]) <= parse_quantity(limit)


@given(pods(), namespaces)
def test_only_what_is_meant_to_change_changes(pod: dict[str, Any], namespace: Any) -> None:
    result = patched(pod, decided(pod, namespace))
    agent = agent_of(result)
    del result["spec"]["initContainers"][0]
    if not result["spec"]["initContainers"] and "initContainers" not in pod["spec"]:
        del result["spec"]["initContainers"]
    del result["metadata"]["annotations"][contract.STATUS]
    if agent.get("restartPolicy") == "Always":
        assert result["spec"]["volumes"].pop()["name"] == contract.RUN_VOLUME
        if not result["spec"]["volumes"] and "volumes" not in pod["spec"]:
            del result["spec"]["volumes"]
    assert result == pod


@given(pods(), namespaces)
def test_twice_is_once(pod: dict[str, Any], namespace: Any) -> None:
    again = decided(patched(pod, decided(pod, namespace)), namespace)
    assert (again.decision.reason, again.operations) == (Reason.ALREADY_INJECTED, ())


@given(pods(), namespaces, st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
def test_after_another_injector_the_agent_is_first_again(
    pod: dict[str, Any], namespace: Any, others: list[str]
) -> None:
    injected = patched(pod, decided(pod, namespace))
    injected["spec"]["initContainers"][:0] = [{"name": f"other-{name}"} for name in others]
    result = patched(injected, decided(injected, namespace))
    agent_of(result)
    order = [container["name"] for container in injected["spec"]["initContainers"]]
    order.remove(contract.CONTAINER_NAME)
    assert [container["name"] for container in result["spec"]["initContainers"][1:]] == order
