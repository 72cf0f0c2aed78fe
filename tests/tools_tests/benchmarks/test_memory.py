"""What the webhook's memory is shown beside, and what it is judged by."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.webhook.results import REQUESTED

ROOT = Path(__file__).parents[3]
VALUES = ROOT / "charts" / "multus-eni-injector" / "values.yaml"
PROGRAM = """
import json, sys
from benchmarks.webhook import floor
before = sorted(sys.modules)
floor.APPS["floor"](b"{}")
json.dump([before, sorted(sys.modules)], sys.stdout)
"""
CERTIFICATE = {"webhook", "webhook.server", "webhook.server.cert_watcher", "webhook.server.tls_records"}


def test_a_floor_imports_its_own_stack_alone() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    bare, framework = map(set, json.loads(ended.stdout))
    for modules in (bare, framework):
        assert {each for each in modules if each.partition(".")[0] == "webhook"} == CERTIFICATE
        assert not modules & {"msgspec", "yaml", "prometheus_client"}
    assert "uvicorn" in bare
    assert "fastapi" not in bare
    assert "fastapi" in framework


def test_a_replica_is_judged_by_what_the_chart_requests() -> None:
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    requested = values["webhook"]["resources"]["requests"]["memory"]
    assert requested == "128Mi"
    assert requested.removesuffix("Mi") == f"{REQUESTED * 1e6 / 2**20:.0f}"
