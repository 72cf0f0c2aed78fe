"""A MutatingAdmissionPolicy that makes the webhook's patch inside the API server. No I/O.

Source: kubernetes.io, "Mutating Admission Policy"; a JSON Patch's `value` is any CEL expression.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.cluster.configuration import HAS_NETWORKS, Requirement

Manifest = dict[str, Any]

TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - no password
"""How the name of the volume begins that the API server's ServiceAccount plugin adds; the end is random."""
_TOKEN_VOLUME = f"object.spec.volumes.filter(v, v.name.startsWith('{TOKEN_VOLUME}'))[0].name"


def cel(value: Any) -> str:
    """Write JSON as a CEL expression; the name of the token's volume becomes the pod's.

    The API server's CEL wants all values of a map to have one type (HomogeneousAggregateLiterals): `dyn`.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{cel(key)}: dyn({cel(each)})" for key, each in value.items()) + "}"
    if isinstance(value, str) and value.startswith(TOKEN_VOLUME):
        return _TOKEN_VOLUME
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(cel, value)) + "]"
    return json.dumps(value)


def mutating_policy(
    api_version: str, name: str, operations: Sequence[Mapping[str, Any]], scope: Sequence[Requirement]
) -> list[Manifest]:
    """Return the policy that makes these `add` operations in the namespaces of `scope`, and its binding."""
    patches = ", ".join(
        f"JSONPatch{{op: {cel(each['op'])}, path: {cel(each['path'])}, value: {cel(each['value'])}}}"
        for each in operations
    )
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return [
        {
            "apiVersion": api_version,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "matchConstraints": {
                    "namespaceSelector": {"matchExpressions": list(scope)},
                    "resourceRules": [rule],
                },
                "matchConditions": [{"name": "attaches-networks", "expression": HAS_NETWORKS}],
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patches}]"}}],
            },
        },
        {
            "apiVersion": api_version,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]
