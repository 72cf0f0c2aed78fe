"""The command as `make bench-agent` runs it, only shorter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.agent.stage import BenchError, stage
from tests.netns import require

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "benchmarks.agent", "--quick"]


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    require()


def test_everything_is_measured_and_judged(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [*COMMAND, "--output=json"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found["costs"]) == {
        "init",
        "init over TLS",
        "slim init",
        "bare Python",
        "botocore's client",
    }
    for cost in found["costs"].values():
        assert cost["cpu"] > 0
        assert cost["seconds"] > 0
    peaks = {name: cost["peak"] for name, cost in found["costs"].items()}
    assert peaks["bare Python"] < peaks["init"]
    assert peaks["slim init"] < peaks["init"]
    for kind in ("direct", "slim"):
        sidecar = found[kind]
        assert 1 < sidecar["started"]["pss"] <= sidecar["started"]["rss"]
        reaction = sidecar["reaction"]
        assert 0 < reaction["p50"] <= reaction["p99"] <= reaction["longest"]
        assert reaction["events"] == 5
        assert sidecar["idle"]["seconds"] >= 1
    assert found["slim"]["started"]["rss"] < found["direct"]["started"]["rss"]
    assert {figure["met"] for figure in found["figures"]} <= {True, False, None}
    assert not list(tmp_path.glob("bench-agent-*"))


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('out of luck')"]
    with (
        stage(tmp_path) as made,
        pytest.raises(BenchError, match="the failing one ended with 1: out of luck"),
    ):
        made.costs({"the failing one": (failing, made.env())}, 1)


def test_a_sidecar_that_ends_is_no_measurement(tmp_path: Path) -> None:
    with stage(tmp_path) as made:
        made.pod.delete_interface("net1")
        with pytest.raises(BenchError, match=r"the sidecar has ended with 13: .*net1"), made.sidecar():
            pytest.fail("it has started")
