"""The command as `make bench-webhook` runs it, without a control plane and so without peers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.webhook.servers import PEERS
from tests.cluster.tools import CONTROL_PLANE
from tests.skipping import skip

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "benchmarks.webhook", "--quick", "--output=json"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which Go is found and the control plane's programs are not."""
    for missing, sentence in (
        (shutil.which("go") is None, "the load client is built with Go (https://go.dev/dl)"),
        (len(os.sched_getaffinity(0)) < 2, "the server needs a core of its own: two cores at least"),
    ):
        if missing:
            skip(sentence)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "go").symlink_to(shutil.which("go") or "")
    go_cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True).stdout
    kept = {name: value for name, value in os.environ.items() if name not in (*PEERS, "KUBEBUILDER_ASSETS")}
    assert not any((folder / name).exists() for name in CONTROL_PLANE)
    return {
        **kept,
        "PATH": str(folder),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GOCACHE": go_cache.strip(),
        "TMPDIR": str(tmp_path),
    }


def test_what_is_missing_is_said_and_the_rest_is_measured(env: dict[str, str], tmp_path: Path) -> None:
    env.pop("MULTUS_ENI_SAMPLES", None)
    ended = subprocess.run(COMMAND, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["api_server"] is None
    assert [note.split(":")[0] for note in found["notes"]] == [
        "No peers",
        "`recorded` is a generated review of the same size",
        "Nothing through an API server, and no peers, which need one",
    ]
    assert set(found["per_core"]) == {"recorded", "no two alike", "1 KiB", "10 KiB", "64 KiB", "256 KiB"}
    for samples in found["per_core"].values():
        assert set(samples) == {"ours", "floor", "bare"}
        for sample in samples.values():
            assert sample["requests_per_second"] > 0
            assert 0 < sample["p50"] <= sample["p99"]
    assert found["memory"]["ours"]["loaded"]["rss"] > 1
    assert {target["met"] for target in found["targets"]} <= {True, False}
    assert not list(tmp_path.glob("bench-webhook-*"))


def test_what_can_not_run_ends_with_1_and_a_sentence(env: dict[str, str], tmp_path: Path) -> None:
    samples = {"MULTUS_ENI_SAMPLES": str(tmp_path / "nowhere")}
    ended = subprocess.run(COMMAND, cwd=ROOT, env=env | samples, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "failed: " in ended.stderr
    assert "nowhere/admission-review.json" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_section_that_can_not_run_alone_is_said_not_to(env: dict[str, str]) -> None:
    command = [*COMMAND, "--only=api"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "failed: nothing through an API server: " in ended.stderr
