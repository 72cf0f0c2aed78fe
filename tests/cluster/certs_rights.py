"""What `multus-eni certs` may do: exactly what docs/certificates.md lists under Rights."""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]


def secret_rules(secret: str) -> list[Rule]:
    """Return the rules of the Role in the Secret's namespace."""
    return [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [secret],
            "verbs": ["get", "list", "watch", "create", "patch"],
        }
    ]


def configuration_rules(configuration: str) -> list[Rule]:
    """Return the rules of the ClusterRole."""
    return [
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": [configuration],
            "verbs": ["get", "list", "watch", "patch"],
        }
    ]
