"""Workloads to decisions and patches: what the webhook would answer for their pods, without a cluster.

The decision is the webhook's own; what is added here is which entry of it the API server would call,
which the labels of namespace and pod decide (see entries.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from common.contract import CREDENTIALS, INJECTION, MODE, NETWORKS, Credentials, Injection, Mode
from webhook.core.inject import inject
from webhook.core.namespace_policy import InvalidLabel, NamespacePolicy
from webhook.core.patch import Operation, pointer
from webhook.core.pod import Pod
from webhook.core.policy import Decision
from webhook.core.reasons import SENTENCES, Reason
from webhook.core.settings import Settings
from webhook.manifests.workloads import Manifests, Workload


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What manifests leave open: the settings, the namespace of what names none, and labels of namespaces.

    `labels` are the contract's labels of every namespace that is not among the manifests.
    """

    settings: Settings
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=lambda: {INJECTION: Injection.ENABLED.value})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the webhook would do with a workload's pods. `operations` patch the document of the workload.

    `pod` is None where it does not have to be read (it attaches to no network) or can't be.
    """

    workload: Workload
    namespace: str
    decision: Decision
    pod: Pod | None = None
    operations: tuple[Operation, ...] = ()


def answers(manifests: Manifests, surroundings: Surroundings) -> list[Answer]:
    """Answer for each workload, in order."""
    return [_answer(workload, manifests.namespaces, surroundings) for workload in manifests.workloads]


def operations_of(answers: Iterable[Answer]) -> dict[int, list[Operation]]:
    """Collect the operations by document; those of one document do not move each other's places."""
    operations: dict[int, list[Operation]] = {}
    for answer in answers:
        operations.setdefault(answer.workload.document, []).extend(answer.operations)
    return operations


def namespace_policy(labels: Mapping[str, str], pod_label: str | None) -> NamespacePolicy:
    """Say what the entry that is called for such a pod says about its namespace.

    The pod's injection label decides alone where it is there, so that a wrong label of the namespace counts
    only where it would be read: a MutatingWebhookConfiguration can't select otherwise.
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


class _Annotations(msgspec.Struct, frozen=True):
    annotations: dict[str, msgspec.Raw] | None = None


class _Annotated(msgspec.Struct, frozen=True):
    metadata: _Annotations | None = None


def _answer(
    workload: Workload, namespaces: Mapping[str, Mapping[str, str]], surroundings: Surroundings
) -> Answer:
    namespace = workload.namespace or surroundings.namespace
    try:
        pod = _attached_pod(workload.pod)
    except (msgspec.DecodeError, RecursionError) as error:
        return Answer(workload, namespace, _decision(Reason.UNREADABLE_POD, str(error)))
    if pod is None:
        return Answer(workload, namespace, _decision(Reason.NO_NETWORKS))
    policy = namespace_policy(namespaces.get(namespace, surroundings.labels), pod.labels.get(INJECTION))
    outcome = inject(pod, namespace, policy, surroundings.settings, admitted=False)
    operations = tuple(_moved(operation, workload) for operation in outcome.operations)
    return Answer(workload, namespace, outcome.decision, pod, operations)


def _attached_pod(raw: bytes | None) -> Pod | None:
    """Read a pod if it has the annotation for which the API server calls the webhook."""
    if raw is None:
        return None
    metadata = msgspec.json.decode(raw, type=_Annotated).metadata
    if metadata is None or NETWORKS not in (metadata.annotations or {}):
        return None
    return msgspec.json.decode(raw, type=Pod)


def _decision(reason: Reason, problem: str | None = None) -> Decision:
    return Decision(reason, SENTENCES[reason] if problem is None else f"{SENTENCES[reason]}: {problem}")


def _moved(operation: Operation, workload: Workload) -> Operation:
    """Make an operation on a pod one on the document that the pod is in."""
    root = pointer(*workload.place)
    return {key: root + value if key in ("path", "from") else value for key, value in operation.items()}
