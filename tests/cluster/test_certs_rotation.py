"""CA and leaf are rotated while pods are created through two replicas of the webhook: no create may fail.

`MULTUS_ENI_ROTATION_CREATES` says how many creates there are at least.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from tests.cluster.waiting import SCENARIO_SECONDS
from tests.netns import Node, require
from tests.skipping import programs

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

CREATES = int(os.environ.get("MULTUS_ENI_ROTATION_CREATES", "1000"))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What happened, in a control plane of its own."""
    programs()
    require()
    argv = [sys.executable, "-m", "tests.cluster.rotation_under_load"]
    with Node() as node:
        done = node.run([*argv, node.address, str(CREATES)], env=dict(os.environ), timeout=SCENARIO_SECONDS)
    assert done.returncode == 0, done.stderr
    reported: dict[str, Any] = json.loads(done.stdout)
    return reported


def test_no_create_fails_during_a_rotation(report: dict[str, Any]) -> None:
    assert (report["failed"], report["failures"]) == (0, [])
    assert report["creates"] >= CREATES
    assert report["creates_during_rotation"] > 0


def test_the_rotation_wrote_every_step_in_order(report: dict[str, Any]) -> None:
    assert report["wrote"] == [
        "MakeAuthority",
        "UpdateCaBundle",
        "IssueLeaf",
        "PruneAuthorities",
        "UpdateCaBundle",
    ]
    assert report["another_ca"]


def test_both_replicas_took_part(report: dict[str, Any]) -> None:
    assert all(answered > 0 for answered in report["answered"])
    assert all(reloaded > 0 for reloaded in report["reloaded"])
    assert report["unusable"] == [0, 0]
