"""What other tools read of the chart: chart-testing, Artifact Hub, Flux and kustomize."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import yaml

from tests.cluster.helm import CHART, Helm

ROOT = CHART.parents[1]
ABOUT: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
FLUX = ROOT / "examples" / "flux-helmrelease.yaml"
HTTPS = re.compile(r"https://[^\s/]+/\S+")


@pytest.mark.pure
def test_the_chart_has_what_chart_testing_demands() -> None:
    """Its schema, etc/chart_schema.yaml, and its linter, which wants maintainers and an icon."""
    texts = ("apiVersion", "name", "version", "appVersion", "description", "home", "icon")
    assert all(isinstance(ABOUT[key], str) for key in texts)
    assert HTTPS.fullmatch(ABOUT["home"])
    assert ABOUT["sources"] == [ABOUT["home"]]
    (maintainer,) = ABOUT["maintainers"]
    assert maintainer == {"name": ABOUT["name"], "url": ABOUT["home"]}
    assert all(isinstance(value, str) for value in ABOUT["annotations"].values())


@pytest.mark.pure
def test_addresses_in_the_chart_lead_to_files_of_the_repository() -> None:
    links = [each["url"] for each in yaml.safe_load(ABOUT["annotations"]["artifacthub.io/links"])]
    raw = ABOUT["home"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    paths = [each.removeprefix(ABOUT["home"] + "/blob/main/") for each in links]
    paths.append(ABOUT["icon"].removeprefix(raw))
    assert len(paths) == 3
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    assert ET.parse(ROOT / paths[-1]).getroot().tag.endswith("svg")


@pytest.mark.pure
def test_flux_takes_the_chart_where_make_push_puts_it() -> None:
    found = {each["kind"]: each for each in yaml.safe_load_all(FLUX.read_text(encoding="utf-8"))}
    source, release = found["OCIRepository"], found["HelmRelease"]
    registry = release["spec"]["values"]["image"]["registry"]
    assert source["spec"]["url"] == f"oci://{registry}/charts/{ABOUT['name']}"
    assert source["spec"]["ref"]["semver"] == re.sub(r"\d+$", "x", ABOUT["version"])
    reference = {"kind": "OCIRepository", "name": source["metadata"]["name"]}
    assert release["spec"]["chartRef"] == reference
    assert release["metadata"]["namespace"] == source["metadata"]["namespace"]


def test_without_hooks_only_the_test_is_missing(helm: Helm) -> None:
    """kustomize's `skipHooks` is Helm's --no-hooks."""
    values = {"image": {"registry": "registry.example"}}
    every = {(each["kind"], each["metadata"]["name"]) for each in helm.render(values)}
    left = {(each["kind"], each["metadata"]["name"]) for each in helm.render(values, "--no-hooks")}
    test = f"{ABOUT['name']}-test"
    assert every - left == {(kind, test) for kind in ("Pod", "ServiceAccount", "Role", "RoleBinding")}
