"""The command as `make bench-cluster` runs it, only shorter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cluster.figures import BESIDE_ONE_CPU, GUARANTEED, ON_PREFIXES, VARIANTS
from tests.cluster.nodes.parts import PartsMissing, find_parts
from tests.skipping import skip

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "benchmarks.cluster", "--quick", "--output=json"]


@pytest.fixture(autouse=True)
def _parts(tmp_path: Path) -> None:
    try:
        find_parts(tmp_path)
    except PartsMissing as missing:
        skip(missing)


def test_every_kind_of_pod_is_measured_and_judged() -> None:
    ended = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    tables = {
        "alone": VARIANTS,
        "together": VARIANTS,
        "guaranteed": GUARANTEED,
        "one_cpu": BESIDE_ONE_CPU,
        "prefixes": ON_PREFIXES,
    }
    for table, variants in tables.items():
        assert set(found[table]) == set(variants)
        assert all(each[0] > 0 for each in found[table].values())
    assert {each["met"] for each in found["targets"]} <= {True, False}
