"""Decide whether and how a pod is injected: pod, namespace and settings in, a decision with a reason out.

The checks run in the order of the table in docs/contract.md: first pods that cannot be injected, then what
the users chose, then an agent that is already in the pod, and last the pod's own annotations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common import pod_keys
from common.agent_container import (
    COMMAND,
    CONTAINER_NAME,
    RUN_VOLUME,
    TOKEN_AUDIENCE,
    TOKEN_NAME,
    TOKEN_VOLUME,
)
from common.agent_settings import (
    ENV_CONTRACT,
    AgentSettings,
    Credentials,
    Mode,
    RestartPolicy,
    parse_restart_policy,
)
from common.pod_keys import Injection
from webhook.core.agent_plan import AgentPlan
from webhook.core.annotations import MAX_INTERFACES, PodSettings, Refusal, not_allowed, read_annotations
from webhook.core.meshes import MESH_KEYS
from webhook.core.namespace_policy import InvalidLabel, NamespacePolicy
from webhook.core.pod import InitContainer, Pod, Volume
from webhook.core.reasons import SENTENCES, Reason
from webhook.core.requested_units import request_capacity
from webhook.core.settings import Settings
from webhook.core.warnings import warnings_of
from webhook.multus.networks import Networks, expected_interfaces, parse_networks

HAND_MADE_AGENTS = frozenset({"aws-ip-mgmt"})
"""Names of the containers that the public samples tell users to add by hand."""

READ_LABELS = MESH_KEYS | {pod_keys.INJECTION, pod_keys.EIP_LABEL, "eks.amazonaws.com/fargate-profile"}
READ_ANNOTATIONS = MESH_KEYS | {pod_keys.NETWORKS, pod_keys.DEFAULT_NETWORK, "kubernetes.io/config.mirror"}
"""The annotations that a decision reads, beside our own."""


def _invalid_label(whose: str, key: str, allowed: Iterable[str], look: str = "") -> str:
    return f"the {whose}'s label {key} has a value that is not allowed; allowed: {', '.join(allowed)}{look}"


def _invalid_namespace_label(key: str, allowed: Iterable[str]) -> str:
    return _invalid_label(
        "namespace", key, allowed, f"; to see it: kubectl get namespace {{namespace}} -L {key}"
    )


_INVALID_LABEL_MESSAGES = {
    InvalidLabel.NAMESPACE_INJECTION: _invalid_namespace_label(pod_keys.INJECTION, Injection),
    InvalidLabel.NAMESPACE_MODE: _invalid_namespace_label(pod_keys.MODE, Mode),
    InvalidLabel.NAMESPACE_CREDENTIALS: _invalid_namespace_label(pod_keys.CREDENTIALS, Credentials),
    InvalidLabel.POD_INJECTION: _invalid_label("pod", pod_keys.INJECTION, Injection),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a pod, and why. `agent` is set if and only if the pod is injected."""

    reason: Reason
    message: str
    agent: AgentPlan | None = None
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the API server must refuse the pod."""
        return self.reason in (Reason.INVALID_SETTING, Reason.UNREADABLE_POD, Reason.INTERNAL_ERROR)


def decide(pod: Pod, pod_namespace: str, namespace: NamespacePolicy, settings: Settings) -> Decision:
    """Decide about a pod that is being created in the namespace `pod_namespace`."""
    networks = parse_networks(pod.annotations.get(pod_keys.NETWORKS, ""), pod_namespace)
    try:
        reason = (
            _cannot_be_injected(pod, pod_namespace, networks, settings)
            or _opted_out(pod, pod_namespace, namespace)
            or _existing_agent(pod)
        )
        if reason is not None:
            return Decision(reason, SENTENCES[reason])
        return _inject(pod, networks, namespace, settings)
    except Refusal as error:
        return Decision(Reason.INVALID_SETTING, str(error))


def _cannot_be_injected(
    pod: Pod, pod_namespace: str, networks: Networks, settings: Settings
) -> Reason | None:
    spec = pod.spec
    checks = (
        (not networks.networks and networks.refusal is None, Reason.NO_NETWORKS),
        (pod_namespace in settings.excluded_namespaces, Reason.EXCLUDED_NAMESPACE),
        (bool(spec.hostNetwork), Reason.HOST_NETWORK),
        ("kubernetes.io/config.mirror" in pod.annotations, Reason.MIRROR_POD),
        (_is_windows(pod), Reason.WINDOWS),
        (_is_fargate(pod), Reason.FARGATE),
    )
    return next((reason for applies, reason in checks if applies), None)


def _is_windows(pod: Pod) -> bool:
    if pod.spec.os is not None:
        return pod.spec.os.name == "windows"
    return (pod.spec.nodeSelector or {}).get("kubernetes.io/os") == "windows"


def _is_fargate(pod: Pod) -> bool:
    # EKS sets both on pods that match a Fargate profile, in a webhook of its own.
    return pod.spec.schedulerName == "fargate-scheduler" or "eks.amazonaws.com/fargate-profile" in pod.labels


_INJECTIONS = frozenset(Injection)


def _opted_out(pod: Pod, pod_namespace: str, namespace: NamespacePolicy) -> Reason | None:
    label = pod.labels.get(pod_keys.INJECTION)
    if label is not None and label not in _INJECTIONS:
        raise not_allowed(f"the pod's label {pod_keys.INJECTION}", label, ", ".join(Injection))
    wanted = label or namespace.injection
    if wanted == Injection.DISABLED:
        return Reason.OPTED_OUT
    if namespace.invalid is not None:
        raise Refusal(_INVALID_LABEL_MESSAGES[namespace.invalid].format(namespace=pod_namespace))
    return None if wanted == Injection.ENABLED else Reason.NOT_OPTED_IN


def _existing_agent(pod: Pod) -> Reason | None:
    if agent_index(pod) is not None:
        return Reason.ALREADY_INJECTED
    containers = (*pod.init_containers, *pod.containers)
    if any(container.name == CONTAINER_NAME for container in containers):
        raise Refusal(
            f"a container is named {CONTAINER_NAME} but was not made by the injector "
            f"(an init container with the variable {ENV_CONTRACT}): remove or rename it"
        )
    for container in containers:
        command = (container.command or [""])[0]
        if container.name in HAND_MADE_AGENTS or command.rsplit("/", 1)[-1] == COMMAND:
            return Reason.AGENT_PRESENT
    return None


def agent_index(pod: Pod) -> int | None:
    """Return the index of the init container with our name and our contract variable."""
    return next((i for i, container in enumerate(pod.init_containers) if _is_agent(container)), None)


def _is_agent(container: InitContainer) -> bool:
    return container.name == CONTAINER_NAME and any(
        variable.name == ENV_CONTRACT for variable in container.env or []
    )


def _inject(pod: Pod, networks: Networks, namespace: NamespacePolicy, settings: Settings) -> Decision:
    _check_volumes(pod)
    overrides = read_annotations(pod.annotations)
    mode = overrides.mode or namespace.mode or settings.default_mode
    defaults = settings.agent
    interfaces = _interfaces(networks, overrides)
    capacity = request_capacity(networks.networks, interfaces, overrides.units, settings.networks)
    if capacity.problem:
        raise Refusal(capacity.problem)
    agent = AgentPlan(
        mode=mode,
        image=overrides.agent_image or settings.image,
        settings=AgentSettings(
            interfaces=interfaces,
            # Only the user's own list leaves an interface out. What the networks annotation asks for is at
            # least there: Multus may give the pod more, now (defaultNetworks) or later (hot-plug).
            guessed_interfaces=interfaces if overrides.interfaces is None else (),
            timeout=overrides.timeout or defaults.timeout,
            takeover=overrides.takeover or defaults.takeover,
            release_on_exit=bool(overrides.release_on_exit),
            allowed_cidrs=defaults.allowed_cidrs,
            credentials=overrides.credentials or namespace.credentials or defaults.credentials,
            backend=defaults.backend,
            node_port=defaults.node_port,
            # The API server sets the default before admission; a manifest may leave it out.
            restart_policy=parse_restart_policy(pod.spec.restartPolicy or RestartPolicy.ALWAYS),
            eip_wait=overrides.awaited,
            log_level=defaults.log_level,
            log_format=defaults.log_format,
        ),
        cpu=overrides.agent_cpu,
        memory=overrides.agent_memory,
        capacity=capacity,
        eips=bool(overrides.eips),
    )
    reason = Reason.INJECT_SIDECAR if mode is Mode.SIDECAR else Reason.INJECT_INIT
    return Decision(reason, SENTENCES[reason], agent, warnings_of(pod, networks, overrides, agent))


def _check_volumes(pod: Pod) -> None:
    """Refuse a volume that has the name of one of the agent's volumes but is of another kind."""
    for volume in pod.spec.volumes or []:
        if volume.name == RUN_VOLUME and volume.emptyDir is None:
            problem = "is not an emptyDir"
        elif volume.name == TOKEN_VOLUME and not _is_our_token(volume):
            problem = f"is not a projected token for the audience {TOKEN_AUDIENCE} alone"
        else:
            continue
        raise Refusal(
            f"the pod's volume {volume.name} {problem}: the name is reserved for the agent, rename the volume"
        )


def _is_our_token(volume: Volume) -> bool:
    sources = (volume.projected and volume.projected.sources) or []
    tokens = [(token.audience, token.path) for source in sources if (token := source.serviceAccountToken)]
    return len(sources) == 1 and tokens == [(TOKEN_AUDIENCE, TOKEN_NAME)]


def _interfaces(networks: Networks, overrides: PodSettings) -> tuple[str, ...]:
    expected = expected_interfaces(networks)
    if len(expected) > MAX_INTERFACES:
        raise Refusal(
            f"the pod attaches to {len(expected)} networks; the agent supports {MAX_INTERFACES} at most: "
            f"label the pod {pod_keys.INJECTION}={Injection.DISABLED} to create it without the agent"
        )
    return expected if overrides.interfaces is None else overrides.interfaces
