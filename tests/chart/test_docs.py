"""README, examples and docs go with the chart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.pod_keys import INJECTION
from ipagent.node.model.grants import read_grants
from tests.chart.readme import README, generate
from tests.chart.values import REQUIRED
from tests.cluster.helm import CHART, NAMESPACE, RELEASE, Helm, merged, only
from tests.skipping import programs

ROOT = CHART.parents[1]
EXAMPLES = ROOT / "examples"
INSTALL = re.compile(r"helm install (\S+) (\S+) -n (\S+) --create-namespace \\\n\s+--set (\S+)")


def test_the_readme_is_what_helm_docs_makes_of_the_values() -> None:
    program = programs(["helm-docs"])["helm-docs"]
    text = README.read_text(encoding="utf-8")
    assert text == generate(program), "run python -m tests.chart.readme"
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > 80
    assert not [row[0] for row in rows if not row[-1].strip(" |")]


@pytest.mark.parametrize(
    "path",
    [README, ROOT / "README.md", ROOT / "docs" / "install.md"],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_the_command_that_the_docs_show_works(helm: Helm, path: Path) -> None:
    found = INSTALL.search(path.read_text(encoding="utf-8"))
    assert found is not None
    release, chart, namespace, value = found.groups()
    assert (release, namespace) == (RELEASE, NAMESPACE)
    assert helm.run("template", release, ROOT / chart, "-n", namespace, "--set", value)


PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / "docs").glob("*.md"),
    ]
)
NAMED = re.compile(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)(?:[:=][^`]*)?`")
"""A value of the chart in a sentence, alone or with what it is set to."""
SETTINGS_FILE = ROOT / "docs" / "webhook.md"
"""It has the keys of the webhook's settings file, which the chart writes."""


def has_value(schema: Any, path: str) -> bool:
    """Return whether a value can be given by the chart's schema."""
    found = schema
    for name in path.split("."):
        while "$ref" in found:
            found = schema["$defs"][found["$ref"].rpartition("/")[2]]
        if name in found.get("properties", {}):
            found = found["properties"][name]
        elif found.get("additionalProperties") is False and "patternProperties" not in found:
            return False
        else:
            more = found.get("additionalProperties")
            found = more if isinstance(more, dict) else {}
    return True


@pytest.mark.pure
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != SETTINGS_FILE], ids=lambda page: page.stem
)
def test_values_of_the_chart_that_a_page_names_exist(page: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    named = set(NAMED.findall(page.read_text(encoding="utf-8")))
    ours = {each for each in named if each.partition(".")[0] in schema["properties"]}
    files = {each for each in ours if each.endswith((".md", ".json", ".py"))}
    assert {each for each in ours - files if not has_value(schema, each)} == set()


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them, and those that it sets itself."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return set(re.findall(r'<a id="([\w-]+)"></a>', text)) | {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    found = LINK.findall(page.read_text(encoding="utf-8"))
    for link in (each for each in found if not each.startswith("https://")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def values_in(name: str) -> dict[str, object]:
    documents = yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8"))
    for each in documents:
        if each["kind"] == "Application":
            return dict(each["spec"]["source"]["helm"]["valuesObject"])
        if each["kind"] == "HelmRelease":
            return dict(each["spec"]["values"])
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "deployments"),
    [("backend-node.yaml", {"multus-eni-injector", "multus-eni-injector-certs"}), ("watch-only.yaml", set())],
)
def test_the_example_values_are_right(helm: Helm, name: str, deployments: set[str]) -> None:
    values = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    manifests = helm.render(merged(REQUIRED, values))
    assert {each["metadata"]["name"] for each in manifests if each["kind"] == "Deployment"} == deployments
    account = only(manifests, "ServiceAccount", "multus-eni-injector-node")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
    settings = json.loads(only(manifests, "ConfigMap", "multus-eni-injector-node")["data"]["node.json"])
    assert read_grants(settings["grants"]).of("any").takeover


@pytest.mark.parametrize("name", ["argocd-application.yaml", "flux-helmrelease.yaml"])
def test_the_values_of_the_examples_are_right(helm: Helm, name: str) -> None:
    assert helm.render(values_in(name))


def test_the_notes_name_the_label_and_the_secrets_that_users_need(helm: Helm) -> None:
    values = {
        "image": {"registry": "registry.example"},
        "agent": {"imagePullSecrets": ["agent-registry"]},
        "webhook": {"replicas": 1},
    }
    said = helm.run("install", RELEASE, CHART, "-n", NAMESPACE, "--dry-run=client", values=values)
    assert f"kubectl label namespace <namespace> {INJECTION}=enabled" in said
    assert "must exist in every namespace whose pods are injected: agent-registry" in said
    assert "WARNING: webhook.replicas is 1" in said
    assert f"helm test {RELEASE} -n {NAMESPACE}" in said
