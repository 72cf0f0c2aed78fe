"""Whatever stands under a key of a dump, `multus-eni check` goes on to the next object."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from check.model import Scope
from check.reader import read_snapshot
from check.render import Form, render
from check.run import ERRORS, OK, WARNINGS, exit_code, run_checks
from tests.check.test_cases import HEALTHY, NOW
from tests.json_values import keys

pytestmark = pytest.mark.pure

SECONDS = datetime.fromisoformat(NOW).timestamp()
MORE: list[dict[str, Any]] = [
    {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "apps", "name": "closed"},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["sip"]}]},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.1.0/24"]}}]}],
        },
    },
    {"Subnets": [{"SubnetId": "subnet-6", "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": "fd00::/64"}]}]},
]
"""What broken clusters have and the healthy one lacks."""
UNREAD = frozenset({"kind", "apiVersion"})


def replaced(value: Any, key: str, by: Any) -> Any:
    """Return a copy in which `by` stands under the key, wherever it is."""
    if isinstance(value, dict):
        return {name: by if name == key else replaced(inner, key, by) for name, inner in value.items()}
    return [replaced(each, key, by) for each in value] if isinstance(value, list) else value


KEYS = sorted(set(keys([*HEALTHY, *MORE])) - UNREAD)
STRANGE: list[Any] = [[None], {"x": [1]}, 7]


@pytest.mark.parametrize("by", STRANGE, ids=["list", "object", "number"])
def test_a_key_with_a_value_of_another_type_ends_no_check(by: Any) -> None:
    assert len(KEYS) > 100
    for key in KEYS:
        results = run_checks(read_snapshot(replaced([*HEALTHY, *MORE], key, by), SECONDS), Scope())
        assert exit_code(results) in (OK, ERRORS, WARNINGS), key
        assert render(results, Form.JSON)


def test_a_time_before_all_others_ends_no_check() -> None:
    for text in ("0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "0001-01-01T00:00:00+14:00"):
        for key in ("renewTime", "lastTransitionTime"):
            assert run_checks(read_snapshot(replaced(HEALTHY, key, text), SECONDS), Scope())
