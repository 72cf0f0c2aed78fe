"""LimitRange, ResourceQuota and pod-level resources: a pod that is admitted without the agent is with it.

Or a warning of the webhook says which annotation to set, as in `multus-eni.io/agent-cpu: 100m`; then the
pod that has it is admitted. Everything is asked of the API server: each policy has a namespace of its own,
in which each pod is created (dry run) without the agent, and with it in either mode.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION, MODE
from tests.cluster.api import RESOURCE_QUOTA, ApiError, Manifest
from tests.cluster.manifests import container, multus_pod
from tests.cluster.namespaces import Namespace, Namespaces, names_of
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

Amounts = dict[str, str]
MODES = ("init", "sidecar")

ADVICE = re.compile(r"(multus-eni\.io/[a-z-]+): ?[\"']?([\w.]+)")
"""How a warning names an annotation and its value."""


def amounts(cpu: str | None = None, memory: str | None = None, **more: str) -> Amounts:
    """Write CPU and memory, leaving out what is None."""
    found = {"cpu": cpu, "memory": memory, **{name.replace("_", "-"): value for name, value in more.items()}}
    return {name: value for name, value in found.items() if value is not None}


def sized(requests: Amounts | None = None, limits: Amounts | None = None, name: str = "app") -> Manifest:
    """Make a container with these resources."""
    resources = {"requests": requests, "limits": limits}
    return container(name, resources={kind: value for kind, value in resources.items() if value})


def equal(cpu: str, memory: str, name: str = "app") -> Manifest:
    """Make a container whose requests are its limits."""
    return sized(amounts(cpu, memory), amounts(cpu, memory), name)


def own_init(*init: Manifest, app: Manifest) -> Manifest:
    """Make a spec with init containers of its own."""
    return {"containers": [app], "initContainers": list(init)}


MID = ("100m", "128Mi")

PODS: dict[str, Manifest] = {
    "nothing set": {"containers": [sized()]},
    "equal, tiny": {"containers": [equal("10m", "16Mi")]},
    "equal": {"containers": [equal(*MID)]},
    "equal, one core": {"containers": [equal("1", "1Gi")]},
    "equal, large": {"containers": [equal("2", "4Gi")]},
    "equal, unlike": {"containers": [equal(*MID, "a"), equal("2", "1Gi", "b")]},
    "limits alone": {"containers": [sized(None, amounts(*MID))]},
    "requests alone": {"containers": [sized(amounts(*MID))]},
    "requests, tiny": {"containers": [sized(amounts("10m", "16Mi"))]},
    "limits above requests": {"containers": [sized(amounts(*MID), amounts("200m", "256Mi"))]},
    "limits far above requests": {"containers": [sized(amounts("20m", "32Mi"), amounts("2", "2Gi"))]},
    "crossed": {
        "containers": [
            sized(amounts("500m", "32Mi"), amounts("500m", "64Mi"), "a"),
            sized(amounts("50m", "512Mi"), amounts("100m", "512Mi"), "b"),
        ]
    },
    "memory alone": {"containers": [sized(amounts(memory="128Mi"), amounts(memory="128Mi"))]},
    "CPU limit alone": {"containers": [sized(None, amounts("200m"))]},
    "CPU request, memory limit": {"containers": [sized(amounts("100m"), amounts(memory="128Mi"))]},
    "one of two": {"containers": [equal(*MID, "a"), sized(name="b")]},
    "zero CPU": {"containers": [sized(amounts("0", "128Mi"), amounts(memory="128Mi"))]},
    "zero of everything": {"containers": [sized(amounts("0", "0"))]},
    "zero limits": {"containers": [sized(amounts("0", "0"), amounts("0", "0"))]},
    "own init container": own_init(equal("1", "512Mi", "own"), app=equal(*MID)),
    "own tiny init container": own_init(equal("10m", "16Mi", "own"), app=equal(*MID)),
    "own sidecar": own_init({**equal("20m", "32Mi", "own"), "restartPolicy": "Always"}, app=equal(*MID)),
    "own init container of nothing": own_init(sized(name="own"), app=equal(*MID)),
    "ephemeral storage": {
        "containers": [
            sized(amounts(*MID, ephemeral_storage="1Gi"), amounts(*MID, ephemeral_storage="1Gi")),
        ]
    },
    "of the pod": {
        "containers": [sized()],
        "resources": {"requests": amounts("200m", "256Mi"), "limits": amounts("200m", "256Mi")},
    },
    "of the pod, requests": {"containers": [sized()], "resources": {"requests": amounts("200m", "256Mi")}},
    "of the pod, limits above": {
        "containers": [sized()],
        "resources": {"requests": amounts("100m", "128Mi"), "limits": amounts("200m", "256Mi")},
    },
    "of the pod, CPU": {"containers": [sized()], "resources": {"limits": amounts("200m")}},
    "of the pod and all of it the app's": {
        "containers": [equal("200m", "256Mi")],
        "resources": {"requests": amounts("200m", "256Mi"), "limits": amounts("200m", "256Mi")},
    },
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The LimitRange and the ResourceQuota of a namespace; `admits` are pods that it must let through.

    Where `no_agent_fits`, since its CPU never reaches a core (the one exception in docs/contract.md), the
    refusal says what is too little; a warning would come with every pod that pins cores.
    """

    limits: tuple[Manifest, ...] = ()
    quota: Amounts | None = None
    scopes: tuple[str, ...] = ()
    admits: tuple[str, ...] = ("equal",)
    no_agent_fits: bool = False


def per_container(**fields: Amounts) -> Manifest:
    """Make a LimitRange's item for containers."""
    return {"type": "Container", **fields}


def per_pod(**fields: Amounts) -> Manifest:
    """Make a LimitRange's item for pods."""
    return {"type": "Pod", **fields}


def quota(**hard: str) -> Amounts:
    """Write a quota: `limits_cpu="4"` is limits.cpu."""
    return {name.replace("_", "."): value for name, value in hard.items()}


EVERY_REQUEST = {"requests_cpu": "20", "requests_memory": "40Gi"}
EVERY_LIMIT = {"limits_cpu": "20", "limits_memory": "40Gi"}

POLICIES: dict[str, Policy] = {
    "none": Policy(admits=tuple(PODS)),
    "min 10m, 16Mi": Policy((per_container(min=amounts("10m", "16Mi")),), admits=("equal, tiny",)),
    "min 100m, 128Mi": Policy((per_container(min=amounts(*MID)),)),
    "min CPU 500m": Policy((per_container(min=amounts("500m")),), admits=("equal, one core",)),
    "min CPU 1": Policy(
        (per_container(min=amounts("1")),), admits=("equal, one core", "equal, large"), no_agent_fits=True
    ),
    "min memory 1Gi": Policy((per_container(min=amounts(memory="1Gi")),), admits=("equal, one core",)),
    "max 20m, 32Mi": Policy((per_container(max=amounts("20m", "32Mi")),), admits=("equal, tiny",)),
    "max 100m, 128Mi": Policy((per_container(max=amounts(*MID)),)),
    "max 8, 8Gi": Policy((per_container(max=amounts("8", "8Gi")),)),
    "max memory 256Mi": Policy((per_container(max=amounts(memory="256Mi")),)),
    "exactly 100m, 128Mi": Policy((per_container(min=amounts(*MID), max=amounts(*MID)),)),
    "ratio 1": Policy((per_container(maxLimitRequestRatio=amounts("1", "1")),)),
    "ratio 2": Policy((per_container(maxLimitRequestRatio=amounts("2", "2")),)),
    "ratio of CPU 1.5": Policy((per_container(maxLimitRequestRatio=amounts("1500m")),)),
    "default 500m, 256Mi": Policy((per_container(default=amounts("500m", "256Mi")),)),
    "default CPU": Policy((per_container(default=amounts("500m")),)),
    "default request": Policy((per_container(defaultRequest=amounts("50m", "32Mi")),)),
    "default, tiny": Policy((per_container(default=amounts("10m", "16Mi")),), admits=("nothing set",)),
    "default, large": Policy((per_container(default=amounts("4", "8Gi")),)),
    "default above its request": Policy(
        (per_container(default=amounts("2", "2Gi"), defaultRequest=amounts("100m", "64Mi")),)
    ),
    "default within min and max": Policy(
        (
            per_container(
                min=amounts("50m", "100Mi"),
                max=amounts("4", "4Gi"),
                default=amounts("1", "512Mi"),
                defaultRequest=amounts("200m", "200Mi"),
                maxLimitRequestRatio=amounts("10", "10"),
            ),
        )
    ),
    "of the pod, min 100m, 128Mi": Policy((per_pod(min=amounts(*MID)),)),
    "of the pod, max 100m, 128Mi": Policy((per_pod(max=amounts(*MID)),)),
    "of the pod, max 4, 8Gi": Policy((per_pod(max=amounts("4", "8Gi")),)),
    "of the pod, ratio 1": Policy((per_pod(maxLimitRequestRatio=amounts("1", "1")),)),
    "of the pod, ratio 2": Policy((per_pod(maxLimitRequestRatio=amounts("2", "2")),)),
    "quota on requests.cpu": Policy(quota=quota(requests_cpu="20")),
    "quota on requests.memory": Policy(quota=quota(requests_memory="40Gi")),
    "quota on limits.cpu": Policy(quota=quota(limits_cpu="20"), admits=("equal", "CPU limit alone")),
    "quota on limits.memory": Policy(quota=quota(limits_memory="40Gi"), admits=("equal", "memory alone")),
    "quota on all": Policy(quota=quota(**EVERY_REQUEST, **EVERY_LIMIT)),
    "quota on requests": Policy(quota=quota(**EVERY_REQUEST), admits=("equal", "zero of everything")),
    "quota on cpu and memory": Policy(quota=quota(cpu="20", memory="40Gi")),
    "quota of just one": Policy(
        quota=quota(requests_cpu="100m", requests_memory="128Mi", limits_cpu="100m", limits_memory="128Mi")
    ),
    "quota of two": Policy(quota=quota(requests_cpu="200m", limits_memory="256Mi")),
    "quota on pods": Policy(quota=quota(pods="1"), admits=tuple(PODS)),
    "quota on ephemeral storage": Policy(
        quota={"requests.ephemeral-storage": "1Gi", "limits.ephemeral-storage": "1Gi"},
        admits=("equal", "ephemeral storage"),
    ),
    "max ephemeral storage, and a quota on it": Policy(
        (per_container(max=amounts(ephemeral_storage="10Gi")),),
        {"requests.ephemeral-storage": "2Gi"},
        admits=("ephemeral storage",),
    ),
    "quota that forbids BestEffort": Policy(quota=quota(pods="0"), scopes=("BestEffort",)),
    "quota that forbids all but BestEffort": Policy(
        quota=quota(pods="0"), scopes=("NotBestEffort",), admits=("nothing set",)
    ),
    "quota on limits with defaults": Policy(
        (per_container(default=amounts("200m", "256Mi"), defaultRequest=amounts("100m", "128Mi")),),
        quota(**EVERY_REQUEST, **EVERY_LIMIT),
        admits=("nothing set", "one of two"),
    ),
}


@pytest.fixture
def namespace(namespaces: Namespaces, policy: str) -> Namespace:
    """A namespace in which the policy holds already.

    LimitRanger asks for a namespace's LimitRanges again only after a while: they must be there first.
    """
    made = namespaces.make({INJECTION: "enabled"})
    held = POLICIES[policy]
    if held.limits:
        made.create(
            {
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": {"name": "it"},
                "spec": {"limits": list(held.limits)},
            }
        )
    if held.quota:
        spec: dict[str, Any] = {"hard": held.quota} | ({"scopes": list(held.scopes)} if held.scopes else {})
        made.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "it"}, "spec": spec})
        wait_for(
            lambda: made.api.get(RESOURCE_QUOTA, "it", made.name).get("status", {}).get("hard") == held.quota,
            "quota's status",
        )
    return made


def without(spec: Manifest) -> Manifest:
    """Make a pod that is left alone."""
    return multus_pod(labels={INJECTION: "disabled"}, **copy.deepcopy(spec))


def outcome(namespace: Namespace, policy: Policy, spec: Manifest, mode: str, expected: str) -> str:
    """Create a pod with the agent; return what was wrong with that, or nothing."""
    try:
        injected = multus_pod(annotations={MODE: mode}, **copy.deepcopy(spec))
        found = namespace.create(injected, dry_run=True).object
    except ApiError as error:
        if policy.no_agent_fits:
            return (
                "" if "minimum cpu usage per Container is 1, but request is" in error.message else str(error)
            )
        return outcome_of_advice(namespace, spec, mode, expected, error)
    return differs(found, expected)


def outcome_of_advice(
    namespace: Namespace, spec: Manifest, mode: str, expected: str, refused: ApiError
) -> str:
    """Follow the annotations that the warnings name; return what is wrong then, or nothing."""
    advice = {key: value for warning in refused.warnings for key, value in ADVICE.findall(warning)}
    if not advice:
        return f"{refused.message}; no warning says what to set: {refused.warnings}"
    try:
        advised = multus_pod(annotations={MODE: mode, **advice}, **copy.deepcopy(spec))
        found = namespace.create(advised, dry_run=True).object
    except ApiError as error:
        return f"{refused.message}; with {advice} as advised: {error.message}"
    return differs(found, expected)


def differs(found: Manifest, expected: str) -> str:
    """Return what is wrong with an admitted pod, or nothing."""
    first = names_of(found["spec"].get("initContainers"))[:1]
    if first != [CONTAINER_NAME]:
        return f"the first init container is {first}"
    quality = found["status"]["qosClass"]
    return "" if quality == expected else f"it was {expected} and is {quality}"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pod_that_is_admitted_without_the_agent_is_admitted_with_it(
    namespace: Namespace, policy: str
) -> None:
    admitted, lost = set(), {}
    for name, spec in PODS.items():
        try:
            alone = namespace.create(without(spec), dry_run=True).object
        except ApiError:
            continue
        admitted.add(name)
        for mode in MODES:
            if problem := outcome(namespace, POLICIES[policy], spec, mode, alone["status"]["qosClass"]):
                lost[f"{name}, {mode}"] = problem
    assert set(POLICIES[policy].admits) <= admitted, "the policy refuses what it should admit"
    assert not lost, "\n".join(["lost with the agent:", *(f"{name}: {why}" for name, why in lost.items())])
