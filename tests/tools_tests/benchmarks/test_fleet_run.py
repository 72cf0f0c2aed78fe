"""The command as `make bench-fleet` runs it, only smaller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fleet.plan import QUICK
from tests.skipping import programs

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "benchmarks.fleet", "--quick"]


@pytest.fixture(autouse=True)
def _binaries() -> None:
    programs()


def test_every_scenario_is_run_with_its_backends(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [*COMMAND, "--output=json"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [(each["backend"], each["pods"]) for each in found["outcomes"]] == [
        ("node", QUICK.pods),
        ("node", QUICK.pods),
        ("node", QUICK.crowd),
        ("direct", QUICK.pods),
        ("direct", QUICK.pods),
    ]
    by_name = {(each["scenario"], each["backend"]): each for each in found["outcomes"]}
    assert all(each["missing"] == 0 for each in by_name.values())
    once = f"{QUICK.pods} pods at once"
    assert by_name[once, "direct"]["assigns"] >= QUICK.pods > by_name[once, "node"]["assigns"]
    for name in ("once", "spread"):
        central = found["central"][name]
        assert (central["backend"], central["pods"], central["missing"]) == ("central", QUICK.pods, 0)
    assert found["alone"]["turns"] == found["central"]["alone"]["turns"] == QUICK.calm * QUICK.nodes
    for moved in (found["moves"], found["central"]["moves"]):
        assert moved["turns"] == QUICK.rounds * QUICK.nodes
    killed = found["central"]["killed"]
    assert (killed["outcome"]["pods"], killed["outcome"]["missing"]) == (QUICK.pods, 0)
    assert killed["recovered"] > 0
    assert [each["agents"] for each in found["crowds"]] == [QUICK.nodes, 1]
    assert all(each["peak"] > each["pss"] > 1 for each in found["crowds"])
    starts = {(each["addresses"], each["backend"], each["ec2_off"]): each for each in found["starts"]}
    assert list(starts) == [
        ("single addresses", "node", False),
        ("single addresses", "direct", False),
        ("prefixes", "node", False),
        ("prefixes", "direct", False),
        ("prefixes", "node", True),
        ("prefixes", "direct", True),
    ]
    assert all((each["pods"], each["failed"]) == (QUICK.pods, 0) for each in starts.values())
    assert all((each["calls"] > 0) is (each["addresses"] == "single addresses") for each in starts.values())
    assert all(each["cpu_ms"] > 0 and each["longest"] >= each["p50"] > 0 for each in starts.values())
    assert {target["met"] for target in found["targets"]} <= {True, False}
