"""Max pods: the expressions of the examples, evaluated as nodeadm does, against AWS' own tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples.check_nodegroup import DATA, CheckNodegroup, Refused

ROOT = Path(__file__).parents[2]
NODE_GROUPS = ROOT / "examples" / "nodegroup"
TYPES: dict[str, dict[str, int]] = json.loads((DATA / "instance-types.json").read_text(encoding="utf-8"))
EXPRESSION = "((default_enis - {}) * (ips_per_eni - 1)) + 2"


def left(name: str, networks: int) -> int:
    """Return the pods that AWS' own figure leaves when networks take that many ENIs."""
    return TYPES[name]["max_pods"] - networks * (TYPES[name]["addresses"] - 1)


@pytest.mark.parametrize("networks", [0, 1, 2, 3])
def test_the_expression_leaves_what_the_networks_do_not_take(check: CheckNodegroup, networks: int) -> None:
    instances = [(each["enis"], each["addresses"]) for each in TYPES.values()]
    found = check.max_pods(EXPRESSION.format(networks), instances)
    assert dict(zip(TYPES, found, strict=True)) == {name: left(name, networks) for name in TYPES}


def test_a_mistake_in_an_expression_is_found(check: CheckNodegroup) -> None:
    with pytest.raises(Refused, match="undeclared reference to 'enis'"):
        check.max_pods("enis - 1", [(4, 15)])


@pytest.mark.pure
def test_the_files_for_two_networks_have_the_expression_for_two() -> None:
    karpenter = {each["kind"]: each["spec"] for each in documents("karpenter.yaml")}
    (eksctl,) = documents("eksctl.yaml")
    config = yaml.safe_load(eksctl["nodeGroups"][0]["overrideBootstrapCommand"])
    assert karpenter["EC2NodeClass"]["kubelet"]["maxPods"] == EXPRESSION.format(2)
    assert config["spec"] == {"kubelet": {"maxPodsExpression": EXPRESSION.format(2)}}


@pytest.mark.pure
def test_an_overlay_offers_the_addresses_that_an_eni_of_its_types_has() -> None:
    pool = requirements(
        next(
            each["spec"]["template"]["spec"]
            for each in documents("karpenter.yaml")
            if each["kind"] == "NodePool"
        )
    )
    overlays = [each["spec"] for each in documents("karpenter.yaml") if each["kind"] == "NodeOverlay"]
    offered = set()
    for each in overlays:
        sizes = requirements(each)["karpenter.k8s.aws/instance-size"]
        for name in (
            f"{family}.{size}" for family in pool["karpenter.k8s.aws/instance-family"] for size in sizes
        ):
            assert set(each["capacity"].values()) == {str(TYPES[name]["addresses"] - 1)}, name
        offered |= set(sizes)
    assert offered == set(pool["karpenter.k8s.aws/instance-size"])


@pytest.mark.pure
def test_the_table_of_the_page_is_right() -> None:
    text = (ROOT / "docs" / "nodegroups.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (m6i\.\S+?)[, ].*?((?:\| \d+ )+)\|$", text, re.MULTILINE)
    assert len(rows) == 4
    for name, cells in rows:
        enis, addresses, *pods = map(int, re.findall(r"\d+", cells))
        assert (enis, addresses) == (TYPES[name]["enis"], TYPES[name]["addresses"])
        assert pods == [left(name, networks) for networks in range(4)]


def requirements(spec: dict[str, Any]) -> dict[str, list[str]]:
    return {each["key"]: each["values"] for each in spec["requirements"]}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((NODE_GROUPS / name).read_text(encoding="utf-8")))
