"""The MutatingWebhookConfiguration: which pod is sent to which path of the webhook.

A label selector is a conjunction, and `In` wants the label to be there (apimachinery, labels.Requirement),
so "absent or one of these" can't be said. Hence the order in which the labels count, which keeps every pod
at one entry at most: the pod's injection label decides alone where it is there; the namespace's does where
it is not; and the namespace's mode label counts only for pods that one of the two opts in.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multus_eni.contract import INJECTION, MODE, NETWORKS, Injection, Mode

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
    """Return all entries; two of them share the path of a wrong mode label."""
    no_word = (absent(INJECTION),)
    opted_in = (any_of(INJECTION, Injection.ENABLED),)
    other_injection = other_than(INJECTION, *Injection)
    other_mode = other_than(MODE, *Mode)
    modes = {"default": absent(MODE), **{mode.value: any_of(MODE, mode) for mode in Mode}}
    return (
        *(
            _entry(f"namespace-{name}", f"namespace/{name}", (*opted_in, mode), no_word)
            for name, mode in modes.items()
        ),
        *(_entry(f"pod-{name}", f"pod/{name}", (mode,), opted_in) for name, mode in modes.items()),
        _entry("invalid-namespace-injection", "invalid/namespace-injection", other_injection, no_word),
        _entry("invalid-namespace-mode", "invalid/namespace-mode", (*opted_in, *other_mode), no_word),
        _entry("invalid-namespace-mode-of-pod", "invalid/namespace-mode", other_mode, opted_in),
        _entry("invalid-pod-injection", "invalid/pod-injection", (), other_injection),
    )


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
        "name": entry.name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "url": service.url + entry.path,
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
        "namespaceSelector": {"matchExpressions": [*entry.namespace, *scope]},
        "objectSelector": {"matchExpressions": list(entry.pod)},
        "matchConditions": [{"name": "attaches-networks", "expression": HAS_NETWORKS}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "timeoutSeconds": 10,
    }
