"""What a contributor and GitHub read of the repository: each file, command and address in it exists."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.test_docs import anchors

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yaml"))
HOME = yaml.safe_load((ROOT / "charts/multus-eni-injector/Chart.yaml").read_text(encoding="utf-8"))["home"]


def load(path: str) -> Any:
    # mkdocs.yml names Python functions by tags, which BaseLoader leaves aside.
    return yaml.load((ROOT / path).read_text(encoding="utf-8"), yaml.BaseLoader)


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_shows(form: Path) -> None:
    # https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests
    content = load(str(form.relative_to(ROOT)))
    assert content["name"]
    assert content["description"]
    fields = [each for each in content["body"] if each["type"] != "markdown"]
    assert fields
    assert all(each["attributes"]["label"] for each in fields)
    ids = [each["id"] for each in fields]
    assert len(ids) == len(set(ids))


def test_addresses_of_the_repository_are_the_charts() -> None:
    assert load("mkdocs.yml")["repo_url"] == HOME
    (link,) = load(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]
    assert link["url"] == f"{HOME}/security/advisories/new"


def test_pre_commit_starts_what_setup_installs() -> None:
    (repository,) = load(".pre-commit-config.yaml")["repos"]
    hooks = repository["hooks"]
    assert {each["language"] for each in hooks} == {"system"}
    for each in hooks:
        program, *arguments = each["entry"].split()
        assert (ROOT / program).exists()
        assert all((ROOT / word).exists() for word in arguments if "/" in word)


def test_the_devcontainer_sets_up_by_make() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    content = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert content["postCreateCommand"] == "make setup"
    named = re.findall(r"make ([a-z-]+):", content["postStartCommand"])
    assert named == ["demo", "check"]
    assert set(named) <= set(targets)


def test_the_changelog_has_a_section_for_the_version_of_the_code() -> None:
    version = re.search(r'"([\d.]+)"', (ROOT / "common/version.py").read_text(encoding="utf-8"))
    assert version is not None
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", version[1]]


PROGRAMS = ("certs", "check", "common", "ipagent", "multus_eni", "webhook", "charts", "examples", "scripts")
PAGE = re.compile(r"docs/([\w-]+\.md)(?:#([\w-]+))?")


def test_pages_that_programs_and_examples_name_have_these_sections() -> None:
    files = [each for top in PROGRAMS for each in (ROOT / top).rglob("*.*") if each.suffix != ".md"]
    texts = {each: each.read_text(encoding="utf-8") for each in files if each.suffix not in (".pyc", ".png")}
    named = {found for text in texts.values() for found in PAGE.findall(text)}
    assert len(named) > 10
    pages = {page: anchors(ROOT / "docs" / page) for page, _ in named}
    assert [(page, anchor) for page, anchor in named if anchor and anchor not in pages[page]] == []


GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOPS = (
    "benchmarks",
    "certs",
    "charts",
    "check",
    "common",
    "docs",
    "examples",
    "images",
    "ipagent",
    "tests",
    "webhook",
)
ROOMS = ("check", "ipagent", "webhook")
"""Packages whose rooms the tree shows."""


def section(heading: str) -> str:
    return GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_each_room_stands_in_the_tree() -> None:
    tree = section("The tree")
    rooms = {path.parent for each in ROOMS for path in (ROOT / each).glob("**/__init__.py")}
    missing = [str(room.relative_to(ROOT)) for room in rooms if f" {room.name}/" not in f" {tree}"]
    assert [each for each in missing if each not in ROOMS] == []


def test_the_table_of_changes_leads_to_files_that_exist() -> None:
    named = set(re.findall(r"`([\w.*/-]+(?:/|\.(?:py|md|tpl|yaml|json)))`", section("Where does it go?")))
    paths = {str(each.relative_to(ROOT)) for top in TOPS for each in (ROOT / top).rglob("*")}
    patterns = {each: f"*{each.replace('...', '*').strip('/')}" for each in named}
    assert [each for each, one in patterns.items() if not any(fnmatch(path, one) for path in paths)] == []
