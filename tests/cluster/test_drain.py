"""A replica of the webhook ends while pods are created: no create may fail."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from tests.cluster.drain_under_load import ORDERS
from tests.cluster.waiting import SCENARIO_SECONDS
from tests.netns import Node, require
from tests.skipping import programs

pytestmark = [pytest.mark.cluster, pytest.mark.netns]


@pytest.fixture(scope="module")
def reports() -> dict[str, Any]:
    """What happened in each order, in one control plane."""
    programs()
    require()
    with Node() as node:
        argv = [sys.executable, "-m", "tests.cluster.drain_under_load", node.address]
        done = node.run(argv, env=dict(os.environ), timeout=SCENARIO_SECONDS)
    assert done.returncode == 0, done.stderr
    found_reports: dict[str, Any] = json.loads(done.stdout)
    return found_reports


@pytest.mark.parametrize("order", ORDERS)
def test_no_create_fails_while_a_replica_ends(reports: dict[str, Any], order: str) -> None:
    report = reports[order]
    assert report["failures"] == []
    assert report["exit_status"] == 0
    # It was still asked: over connections that the API server had, or by new ones.
    assert report["answered_by_it"] > 0
    assert report["creates"] >= 200
