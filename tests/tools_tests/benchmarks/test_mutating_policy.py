"""The MutatingAdmissionPolicy that the webhook is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.webhook.mutating_policy import cel, mutating_policy


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        ("a \"b\" 'c'\n", '"a \\"b\\" \'c\'\\n"'),
        (True, "true"),
        (8, "8"),
        (["a", "b"], '["a", "b"]'),
        ({"name": "net1", "size": 2}, '{"name": dyn("net1"), "size": dyn(2)}'),
        (
            "kube-api-access-46z2b",
            "object.spec.volumes.filter(v, v.name.startsWith('kube-api-access-'))[0].name",
        ),
    ],
)
def test_json_is_written_as_a_cel_expression(value: Any, expression: str) -> None:
    assert cel(value) == expression


def test_the_policy_makes_each_operation_where_the_webhook_would_be_called() -> None:
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/spec/x", "value": [1]},
        {"op": "add", "path": "/y", "value": "z"},
    ]
    policy, binding = mutating_policy(
        "example/v1", "policy", operations, [{"key": "k", "operator": "Exists"}]
    )
    expression = policy["spec"]["mutations"][0]["jsonPatch"]["expression"]
    assert expression == (
        '[JSONPatch{op: "add", path: "/spec/x", value: [1]}, JSONPatch{op: "add", path: "/y", value: "z"}]'
    )
    assert policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"][0]["key"] == "k"
    assert "networks" in policy["spec"]["matchConditions"][0]["expression"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
