"""docs/check.md explains each check, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from check.model import KINDS
from check.results import PAGE as ADDRESS
from check.run import CHECKS

pytestmark = pytest.mark.pure

PAGE = (Path(__file__).parents[2] / "docs" / "check.md").read_text()


def test_each_check_has_its_section_under_its_category() -> None:
    headings = re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)
    categories = list(dict.fromkeys(check.category for check in CHECKS))
    expected = [
        heading
        for category in categories
        for heading in (category, *(check.id for check in CHECKS if check.category == category))
    ]
    assert headings[headings.index(categories[0]) :] == expected


def test_findings_lead_to_the_page_in_the_charts_repository() -> None:
    chart = (Path(__file__).parents[2] / "charts/multus-eni-injector/Chart.yaml").read_text()
    assert f"{yaml.safe_load(chart)['home']}/blob/main/docs/check.md" == ADDRESS


def test_the_commands_of_a_dump_name_each_kind() -> None:
    resources = {path.rpartition("/")[2] for path in KINDS.values()}
    commands = re.findall(r"kubectl get ([a-z,-]+)", PAGE)
    named = {word.removesuffix("s") for command in commands for word in command.split(",")}
    assert {each.removesuffix("s") for each in resources} <= named


def test_ids_are_unique_and_remedies_say_something() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    assert all(check.remedy and check.title for check in CHECKS)
