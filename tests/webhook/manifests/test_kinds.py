"""Kinds of the field, as their projects document them (tests/cases/kinds): what is found in them, or said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from webhook.manifests.documents import read_documents
from webhook.manifests.raw_json import dotted
from webhook.manifests.workloads import Manifests, read_manifests

pytestmark = pytest.mark.pure

FOLDER = Path(__file__).parents[2] / "cases" / "kinds"


def cases(name: str) -> list[Any]:
    found = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return [pytest.param(each, id=f"{number}-{kind_of(each)}") for number, each in enumerate(found)]


def kind_of(case: dict[str, Any]) -> str:
    return str(case["object"].get("kind", "")) if isinstance(case["object"], dict) else "list"


def read(case: dict[str, Any]) -> Manifests:
    text = yaml.safe_dump(case["object"], allow_unicode=True)
    return read_manifests(document.json for document in read_documents(text.encode()))


@pytest.mark.parametrize("case", cases("with-pod-templates"))
def test_pod_templates_are_found_where_a_kind_has_them(case: dict[str, Any]) -> None:
    found = read(case)
    assert [dotted(workload.path) for workload in found.workloads] == case["templates"]
    assert found.skipped == ()


@pytest.mark.parametrize("case", cases("without-pod-templates"))
def test_what_makes_pods_in_another_way_is_named(case: dict[str, Any]) -> None:
    found = read(case)
    assert found.workloads == ()
    (skipped,) = found.skipped
    assert skipped.reason.startswith(case["note"])


@pytest.mark.parametrize("case", cases("making-no-pods"))
def test_nothing_is_said_of_what_makes_no_pods(case: dict[str, Any]) -> None:
    found = read(case)
    assert (found.workloads, found.skipped) == ((), ())
