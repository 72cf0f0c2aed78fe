"""The MutatingWebhookConfiguration: which pod is sent to which path of the webhook.

A label selector is a conjunction, and `In` wants the label to be there (apimachinery, labels.Requirement),
so "absent or one of these" can't be said. Hence the order in which the labels count, which keeps every pod
at one entry at most: the pod's injection label decides alone where it is there; the namespace's does where
it is not; the namespace's mode label counts only for pods that one of the two opts in; and its credentials
label only where the mode label is absent or right.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.agent_settings import Credentials, Mode
from common.pod_keys import CREDENTIALS, INJECTION, MODE, NETWORKS, Injection

Requirement = dict[str, Any]

NAME = "multus-eni-injector"
"""Sorts before `pod-identity-webhook`, so that that one sees our container (it runs by name)."""

EXCLUDED_NAMESPACES = ("kube-system",)
NAMESPACE_NAME = "kubernetes.io/metadata.name"
HAS_NETWORKS = f"has(object.metadata.annotations) && '{NETWORKS}' in object.metadata.annotations"


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of `webhooks`: the pods that `namespace` and `pod` select are sent to `path`."""

    name: str
    path: str
    namespace: tuple[Requirement, ...]
    pod: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """Where the API server calls: `https://host:port`, trusted by the CA certificate `ca` (PEM)."""

    url: str
    ca: bytes


def absent(key: str) -> Requirement:
    """Select what has no such label."""
    return {"key": key, "operator": "DoesNotExist"}


def any_of(key: str, *values: str) -> Requirement:
    """Select what has the label with one of these values."""
    return {"key": key, "operator": "In", "values": list(values)}


def none_of(key: str, *values: str) -> Requirement:
    """Select what has not the label with one of these values; also what has no such label."""
    return {"key": key, "operator": "NotIn", "values": list(values)}


def other_than(key: str, *values: str) -> tuple[Requirement, ...]:
    """Select what has the label with a value outside these."""
    return ({"key": key, "operator": "Exists"}, none_of(key, *values))


def entries() -> tuple[Entry, ...]:
    """Return all entries; some of them share the path of a wrong label."""
    no_word = (absent(INJECTION),)
    opted_in = (any_of(INJECTION, Injection.ENABLED),)
    return (
        *_opted_in("namespace", opted_in, no_word),
        *_opted_in("pod", (), opted_in),
        _entry(
            "invalid-namespace-injection",
            "invalid/namespace-injection",
            other_than(INJECTION, *Injection),
            no_word,
        ),
        _entry("invalid-pod-injection", "invalid/pod-injection", (), other_than(INJECTION, *Injection)),
    )


def _opted_in(who: str, namespace: tuple[Requirement, ...], pod: tuple[Requirement, ...]) -> Iterator[Entry]:
    """Return the entries of pods that are opted in by `who`: each state of the namespace's other labels."""
    modes = {"default": absent(MODE), **{mode.value: any_of(MODE, mode) for mode in Mode}}
    identities = {"": absent(CREDENTIALS), **{each.value: any_of(CREDENTIALS, each) for each in Credentials}}
    for (mode, has_mode), (identity, has_identity) in itertools.product(modes.items(), identities.items()):
        words = (who, mode, identity) if identity else (who, mode)
        yield _entry("-".join(words), "/".join(words), (*namespace, has_mode, has_identity), pod)
    wrong_mode, wrong_identity = other_than(MODE, *Mode), other_than(CREDENTIALS, *Credentials)
    yield _entry(f"invalid-mode-{who}", "invalid/namespace-mode", (*namespace, *wrong_mode), pod)
    path = "invalid/namespace-credentials"
    right_modes = {"": absent(MODE), "-with-mode": any_of(MODE, *Mode)}
    for end, has_mode in right_modes.items():
        selected = (*namespace, has_mode, *wrong_identity)
        yield _entry(f"invalid-credentials-{who}{end}", path, selected, pod)


def _entry(name: str, path: str, namespace: tuple[Requirement, ...], pod: tuple[Requirement, ...]) -> Entry:
    excluded = none_of(NAMESPACE_NAME, *EXCLUDED_NAMESPACES)
    return Entry(f"{name}.multus-eni.io", f"/mutate/{path}", (excluded, *namespace), pod)


def webhook_configuration(
    service: Service, *, name: str = NAME, scope: Sequence[Requirement] = ()
) -> dict[str, Any]:
    """Build the MutatingWebhookConfiguration; `scope` narrows it further to some namespaces."""
    return configuration_of(entries(), service, name=name, scope=scope)


def configuration_of(
    webhooks: Sequence[Entry], service: Service, *, name: str, scope: Sequence[Requirement] = ()
) -> dict[str, Any]:
    """Build a MutatingWebhookConfiguration of these entries."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [_webhook(entry, service, scope) for entry in webhooks],
    }


def _webhook(entry: Entry, service: Service, scope: Sequence[Requirement]) -> dict[str, Any]:
    return {
        **pod_creation(entry.name, service, entry.path),
        "namespaceSelector": {"matchExpressions": [*entry.namespace, *scope]},
        "objectSelector": {"matchExpressions": list(entry.pod)},
        "matchConditions": [{"name": "attaches-networks", "expression": HAS_NETWORKS}],
        "reinvocationPolicy": "IfNeeded",
    }


def pod_creation(name: str, service: Service, path: str) -> dict[str, Any]:
    """Build the element of `webhooks` that sends each pod that is created to the path."""
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "url": service.url + path,
            "caBundle": base64.b64encode(service.ca).decode("ascii"),
        },
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 10,
    }
