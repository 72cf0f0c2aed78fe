"""Inject one pod: the decision, and the JSON Patch operations that carry it out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec

from common import pod_keys
from common.version import VERSION
from webhook.core import patch
from webhook.core.agent_plan import AgentPlan
from webhook.core.container import (
    API_TOKEN_VOLUME,
    agent_container,
    agent_volumes,
    with_free_volume_names,
)
from webhook.core.decision import Decision, agent_index, decide
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.pod import Pod
from webhook.core.reasons import Reason
from webhook.core.resources import Resources, agent_resources
from webhook.core.settings import Settings
from webhook.multus.networks import MAX_ANNOTATIONS


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision and the JSON Patch operations that carry it out."""

    decision: Decision
    operations: tuple[patch.Operation, ...] = ()


def inject(
    pod: Pod, pod_namespace: str, namespace: NamespacePolicy, settings: Settings, *, admitted: bool = True
) -> Outcome:
    """Decide about a pod and make its patch. A pod with an unreadable quantity is refused.

    `admitted` says that the pod comes from the API server, which has already copied the ServiceAccount's
    imagePullSecrets into it. None are added to a manifest: the API server would then leave out the
    ServiceAccount's.
    """
    decision = decide(pod, pod_namespace, namespace, settings)
    if decision.reason is Reason.ALREADY_INJECTED:
        return Outcome(decision, tuple(patch.move_to_front(agent_index(pod) or 0)))
    agent = decision.agent
    if agent is None:
        return Outcome(decision)
    try:
        sizing = agent_resources(pod, agent, settings.size)
    except ValueError as error:
        return Outcome(Decision(Reason.UNREADABLE_POD, f"the pod's resources: {error}"))
    settings = with_free_volume_names(settings, pod)
    token = token_volume(pod) if admitted else None
    resources = _with_capacity(sizing.resources, agent.capacity.resources)
    container = agent_container(agent, settings, resources, token)
    status = _status(decision, agent)
    fits = _annotations_size(pod) + len(pod_keys.STATUS) + len(status.encode()) <= MAX_ANNOTATIONS
    operations = patch.injection(
        pod,
        patch.Agent(
            container,
            status if fits else None,
            agent_volumes(agent, settings),
            settings.image_pull_secrets if admitted else (),
            {pod_keys.EIP_LABEL: "true"} if agent.eips else {},
        ),
    )
    warnings = sizing.advice
    if not fits:
        warnings = (*warnings, _NO_STATUS)
    if warnings:
        decision = dataclasses.replace(decision, warnings=(*decision.warnings, *warnings))
    return Outcome(decision, tuple(operations))


def _annotations_size(pod: Pod) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in pod.annotations.items())


def _with_capacity(sized: Resources | None, requested: dict[str, str]) -> Resources | None:
    """Add what is requested of networks: extended resources need a limit that equals the request."""
    if not requested:
        return sized
    return {kind: {**(sized or {}).get(kind, {}), **requested} for kind in ("requests", "limits")}


_NO_STATUS = (
    f"multus-eni: {pod_keys.STATUS} is left out: with it the pod's annotations would exceed the API server's "
    "limit of 256 KiB"
)


def token_volume(pod: Pod) -> str | None:
    """Return the name of the volume that the API server's ServiceAccount plugin has added; each pod's is new.

    The plugin runs again after the webhooks and mounts it into every container that lacks it
    (plugin/pkg/admission/serviceaccount, mountServiceAccountToken). That change would make the API server
    call this webhook a second time, so our container has the mount from the start.
    """
    if pod.spec.automountServiceAccountToken is False:
        return None
    names = (volume.name for volume in pod.spec.volumes or ())
    return next((name for name in names if name.startswith(API_TOKEN_VOLUME)), None)


def _status(decision: Decision, agent: AgentPlan) -> str:
    status = {
        "mode": agent.mode.value,
        "reason": decision.reason.value,
        "backend": agent.settings.backend.value,
        "image": agent.image,
        "webhookVersion": VERSION,
    }
    return msgspec.json.encode(status).decode()
