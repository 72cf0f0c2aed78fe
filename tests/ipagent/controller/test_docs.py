"""The pages have a row for each reason of a condition that the controller writes."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.node.observe.event_correlator import TEXTS

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"[A-Z][A-Za-z0-9]+")
MAKERS = ("yes", "no", "unknown")
"""Functions of ipagent/controller/model/condition.py; the first argument is the reason."""


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def listed(text: str) -> set[str]:
    """Return the reasons in the first column of tables."""
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


def written() -> set[str]:
    """Return the reasons that the code names where it makes a condition."""
    paths = (ROOT / "ipagent" / "controller").rglob("*.py")
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    calls = [each for each in nodes if isinstance(each, ast.Call) and each.args]
    return {
        str(first.value)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in MAKERS
        if isinstance(first := call.args[0], ast.Constant) and NAME.fullmatch(str(first.value))
    }


def test_every_reason_has_its_row() -> None:
    rows = {each for name in ("networks", "prefixes", "elastic-ips") for each in listed(page(name))}
    found = written() | set(Kind)
    assert len(found) > 60
    assert sorted(found - rows) == []


def test_no_reason_has_two_rows() -> None:
    _, _, rest = page("networks").partition("\n## Troubleshooting\n")
    first = [line.split("|")[1] for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    rows = Counter(name for cell in first for name in re.findall(r"`(\w+)`", cell))
    assert rows["StandingBy"] == 1
    assert [name for name, count in rows.items() if count > 1] == []


def test_every_event_on_a_pod_has_its_row() -> None:
    _, _, rest = page("node-agent").partition("\n### Events\n")
    assert listed(rest.partition("\n## ")[0]) == {reason for reason, _ in TEXTS.values()}
