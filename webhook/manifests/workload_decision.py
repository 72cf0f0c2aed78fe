"""Decide about workloads as the webhook decides about their pods, without a cluster.

The decision is the webhook's own. This module adds which of its routes the API server would call: that
follows from the labels of namespace and pod (see webhook/core/namespace_policy.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from common.agent_settings import Credentials, Mode
from common.pod_keys import CREDENTIALS, DEFAULT_NETWORK, INJECTION, MODE, NETWORKS, PREFIX, STATUS, Injection
from common.shorten import shortened
from webhook.core.decision import Decision
from webhook.core.inject import inject
from webhook.core.meshes import mesh_warnings
from webhook.core.namespace_policy import InvalidLabel, NamespacePolicy
from webhook.core.patch import Operation, pointer
from webhook.core.pod import Pod
from webhook.core.reasons import SENTENCES, Reason
from webhook.core.settings import Settings
from webhook.manifests.job_policy import failure_policy_warning
from webhook.manifests.pod_templates import POD_ANNOTATIONS, find_networks_annotations
from webhook.manifests.raw_json import Place, dotted, follow
from webhook.manifests.workloads import Manifests, Workload


@dataclass(frozen=True, slots=True)
class Defaults:
    """What manifests leave open: the settings, the default namespace, and labels of namespaces.

    `labels` are the contract's labels of every namespace that is not among the manifests.
    """

    settings: Settings
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=lambda: {INJECTION: Injection.ENABLED.value})


@dataclass(frozen=True, slots=True)
class WorkloadOutcome:
    """What the webhook would do with a workload's pods. `operations` patch the document of the workload.

    `pod` is None where it does not have to be read (it attaches to no network) or can't be.
    """

    workload: Workload
    namespace: str
    decision: Decision
    pod: Pod | None = None
    operations: tuple[Operation, ...] = ()


def decide_workloads(manifests: Manifests, defaults: Defaults) -> list[WorkloadOutcome]:
    """Decide about each workload, in order."""
    return [_decide(workload, manifests, defaults) for workload in manifests.workloads]


def operations_by_document(outcomes: Iterable[WorkloadOutcome]) -> dict[int, list[Operation]]:
    """Collect the operations by document; operations of one document do not shift each other's paths."""
    operations: dict[int, list[Operation]] = {}
    for outcome in outcomes:
        operations.setdefault(outcome.workload.document, []).extend(outcome.operations)
    return operations


def namespace_policy(labels: Mapping[str, str], pod_label: str | None) -> NamespacePolicy:
    """Return the policy of the webhook's route that the API server would call for such a pod.

    A pod's own injection label takes precedence, so a wrong label of the namespace counts only where it would
    be read: a MutatingWebhookConfiguration can't select otherwise.
    """
    injection, mode, credentials = (labels.get(key) for key in (INJECTION, MODE, CREDENTIALS))
    wanted = injection if pod_label is None else pod_label
    invalid = None
    if pod_label is None and injection is not None and injection not in tuple(Injection):
        invalid = InvalidLabel.NAMESPACE_INJECTION
    elif wanted == Injection.ENABLED and mode is not None and mode not in tuple(Mode):
        invalid = InvalidLabel.NAMESPACE_MODE
    elif wanted == Injection.ENABLED and credentials is not None and credentials not in tuple(Credentials):
        invalid = InvalidLabel.NAMESPACE_CREDENTIALS
    return NamespacePolicy(
        injection=Injection(injection) if injection in tuple(Injection) else None,
        mode=Mode(mode) if mode in tuple(Mode) else None,
        credentials=Credentials(credentials) if credentials in tuple(Credentials) else None,
        invalid=invalid,
    )


class _Metadata(msgspec.Struct, frozen=True):
    labels: dict[str, msgspec.Raw] | None = None
    annotations: dict[str, msgspec.Raw] | None = None


class _Annotations(msgspec.Struct, frozen=True):
    annotations: dict[str, msgspec.Raw] | None = None


class _Annotated(msgspec.Struct, frozen=True):
    metadata: _Annotations | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata | None = None


def _decide(workload: Workload, manifests: Manifests, defaults: Defaults) -> WorkloadOutcome:
    namespace = workload.namespace or defaults.namespace
    try:
        pod = _attached_pod(workload.pod)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = _unquoted(workload.pod) or str(error)
        return WorkloadOutcome(workload, namespace, _undecided(Reason.UNREADABLE_POD, problem))
    if pod is None:
        hints = (*_network_hints(workload), *_key_hints(workload))
        return WorkloadOutcome(workload, namespace, _undecided(Reason.NO_NETWORKS, hints=hints))
    labels, own = manifests.namespaces.get(namespace, defaults.labels), pod.labels.get(INJECTION)
    policy = namespace_policy(labels, own)
    outcome = inject(pod, namespace, policy, defaults.settings, admitted=False)
    ignored = not defaults.settings.pod_opt_in and own == Injection.ENABLED != labels.get(INJECTION)
    if ignored and outcome.decision.reason not in _WHATEVER_LABELS_SAY:
        return WorkloadOutcome(workload, namespace, Decision(Reason.NOT_OPTED_IN, _LABEL_IGNORED), pod)
    operations = tuple(_relocated(operation, workload) for operation in outcome.operations)
    decision = _with_meshes(outcome.decision, pod, manifests.mesh_keys.get(namespace))
    decision = replace(
        decision, warnings=(*decision.warnings, *_job_hints(workload, decision), *_key_hints(workload))
    )
    return WorkloadOutcome(workload, namespace, decision, pod, operations)


_WHATEVER_LABELS_SAY = frozenset(
    {
        Reason.NO_NETWORKS,
        Reason.EXCLUDED_NAMESPACE,
        Reason.HOST_NETWORK,
        Reason.MIRROR_POD,
        Reason.WINDOWS,
        Reason.FARGATE,
        Reason.AGENT_PRESENT,
    }
)
"""Why a pod gets no agent where its namespace is labelled, too (docs/contract.md, "Decision")."""
_LABEL_IGNORED = (
    f"the namespace is not labelled {INJECTION}=enabled, and the pod's own label does not count "
    "(injection.podOptIn is false)"
)


def _job_hints(workload: Workload, decision: Decision) -> list[str]:
    # A sidecar that fails before the app's start is started again, whatever the pod's restart policy.
    if decision.agent is None or decision.agent.mode is not Mode.INIT or not workload.path:
        return []
    warning = failure_policy_warning(follow(workload.object, workload.path[:-1]))
    return [warning] if warning else []


def _with_meshes(decision: Decision, pod: Pod, namespace: Mapping[str, str] | None) -> Decision:
    """Warn of meshes by the namespace's labels and annotations too, which the webhook does not see."""
    if decision.agent is None or not namespace:
        return decision
    found = mesh_warnings(pod, decision.agent.settings, namespace)
    # The namespace may also exclude the traffic of which the pod's own keys warn.
    others = [each for each in decision.warnings if each not in mesh_warnings(pod, decision.agent.settings)]
    return replace(decision, warnings=(*others, *found))


def _attached_pod(raw: bytes | None) -> Pod | None:
    """Read a pod if it has the annotation for which the API server calls the webhook."""
    if raw is None or NETWORKS not in _annotation_keys(raw):
        return None
    try:
        return msgspec.json.decode(raw, type=Pod)
    except msgspec.ValidationError:
        return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), type=Pod)


def _without_nulls(pod: Any) -> Any:
    """Read labels and annotations without a value (`key:` in YAML) as empty texts, as the API server does."""
    metadata = pod["metadata"]
    for field_name in ("labels", "annotations"):
        if isinstance(keys := metadata.get(field_name), dict):
            metadata[field_name] = {key: "" if value is None else value for key, value in keys.items()}
    return pod


def _unquoted(raw: bytes | None) -> str | None:
    """Name the first label or annotation that YAML reads as something else than a text, as it does `true`."""
    metadata = _metadata(raw)
    values = [
        *(("label", key, bytes(value)) for key, value in (metadata.labels or {}).items()),
        *(("annotation", key, bytes(value)) for key, value in (metadata.annotations or {}).items()),
    ]
    found = next((each for each in values if each[2][:1] not in (b'"', b"n")), None)
    if found is None:
        return None
    kind, key, value = found
    return f"the {kind} {key} is {shortened(value.decode())}, which is not a string: write it in quotes"


def _annotation_keys(raw: bytes | None) -> Collection[str]:
    metadata = msgspec.json.decode(raw or b"{}", type=_Annotated).metadata
    return (metadata.annotations if metadata is not None else None) or ()


def _undecided(reason: Reason, problem: str | None = None, hints: tuple[str, ...] = ()) -> Decision:
    message = SENTENCES[reason] if problem is None else f"{SENTENCES[reason]}: {problem}"
    return Decision(reason, message, warnings=hints)


def _network_hints(workload: Workload) -> tuple[str, ...]:
    """Say which network a workload without one was probably meant to have."""
    misplaced = find_networks_annotations(workload.object, workload.templates)
    if misplaced:
        return (_misplaced(workload, NETWORKS, misplaced[0], POD_ANNOTATIONS),)
    if DEFAULT_NETWORK in _annotation_keys(workload.pod):
        return (_DEFAULT_NETWORK_ALONE,)
    return ()


_DEFAULT_NETWORK_ALONE = (
    f"multus-eni: {DEFAULT_NETWORK} replaces the network of eth0, whose addresses the agent does not assign: "
    f"attach the network on the ENI by {NETWORKS}"
)


def _key_hints(workload: Workload) -> list[str]:
    """Name keys of ours on the workload that stand where only those of its pods count."""
    if workload.is_pod:
        return []
    mine, pods = _metadata(workload.object), _metadata(workload.pod)
    return [
        _misplaced(workload, key, ("metadata", field), ("metadata", field))
        for field in ("labels", "annotations")
        for key in getattr(mine, field) or ()
        if key.startswith(PREFIX) and key != STATUS and key not in (getattr(pods, field) or ())
    ]


def _metadata(raw: bytes | None) -> _Metadata:
    try:
        return msgspec.json.decode(raw or b"{}", type=_Object).metadata or _Metadata()
    except (msgspec.ValidationError, RecursionError):
        return _Metadata()


def _misplaced(workload: Workload, key: str, place: Place, right: Place) -> str:
    # A controller may copy annotations of its object to the pods, as that of Kubeflow's Notebook does.
    effect = "reaches pods only if the controller copies it" if workload.found_by_shape else "is ignored"
    return f"multus-eni: {key} at {dotted(place)} {effect}: move it to {dotted((*workload.path, *right))}"


def _relocated(operation: Operation, workload: Workload) -> Operation:
    """Turn an operation on a pod into one on the document that contains the pod."""
    root = pointer(*workload.place)
    return {key: root + value if key in ("path", "from") else value for key, value in operation.items()}
