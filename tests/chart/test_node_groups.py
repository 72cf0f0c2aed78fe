"""The examples of node groups on a real API server: Karpenter's CRDs, and the chart's for NodeNetworks."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipagent.node_network_api import STARTUP_TAINT
from tests.chart.conftest import Cluster
from tests.cluster.api import ApiError, Kind, Manifest
from tests.cluster.processes import LAZY_GC
from tests.cluster.waiting import wait_for
from tests.examples.check_nodegroup import DATA, CheckNodegroup
from tests.examples.test_cloudformation import node_group
from tests.examples.test_terraform import node_group as planned_node_group
from tests.skipping import programs

pytestmark = pytest.mark.cluster

KARPENTER = Path(__file__).parents[2] / "examples" / "nodegroup" / "karpenter.yaml"
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")


@pytest.fixture(scope="module")
def crds(cluster: Cluster, rendered: dict[str, list[Manifest]]) -> Iterator[Cluster]:
    """An API server with Karpenter's CRDs and the chart's."""
    made = list(yaml.safe_load_all((DATA / "karpenter-crds.yaml").read_text(encoding="utf-8")))
    made += [each for each in rendered["controller"] if each["kind"] == "CustomResourceDefinition"]
    for each in made:
        cluster.api.apply(each)
    kinds = [Kind(f"{each['spec']['group']}/{served(each)}", each["spec"]["names"]["kind"]) for each in made]
    wait_for(lambda: all(known(cluster, kind) for kind in kinds), "service of the CRDs")
    yield cluster
    for each in made:
        cluster.api.delete(CRD, each["metadata"]["name"])
    wait_for(lambda: not any(known(cluster, kind) for kind in kinds), "their end")


def served(crd: Manifest) -> str:
    name: str = crd["spec"]["versions"][0]["name"]
    return name


def known(cluster: Cluster, kind: Kind) -> bool:
    try:
        cluster.api.list(kind)
    except ApiError:
        return False
    return True


def karpenter() -> list[dict[str, Any]]:
    """Return the documents with values in the places of variables, as envsubst puts them there."""
    text = KARPENTER.read_text(encoding="utf-8")
    text = text.replace("${CLUSTER}", "prod").replace("${KARPENTER_NODE_ROLE}", "KarpenterNodeRole-prod")
    assert "${" not in text
    return list(yaml.safe_load_all(text))


def test_karpenter_takes_its_documents(crds: Cluster) -> None:
    documents = karpenter()
    assert [each["kind"] for each in documents] == ["EC2NodeClass", "NodePool", "NodeOverlay", "NodeOverlay"]
    for each in documents:
        # Server-side apply refuses fields that the schema does not have.
        assert crds.api.apply(each, dry_run=True).warnings == ()


def test_karpenters_crds_see_a_wrong_field_and_value(crds: Cluster) -> None:
    node_class, pool, overlay, _ = karpenter()
    for document, path, value, message in (
        (node_class, ("spec", "metadataOptions", "hopLimit"), 1, "field not declared in schema"),
        (pool, ("spec", "template", "spec", "startupTaints", 0, "effect"), "NoSchedul", "Unsupported value"),
        (overlay, ("spec", "capacity", "cpu"), "14", "invalid resource restricted"),
    ):
        wrong: Any = copy.deepcopy(document)
        place = wrong
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(ApiError, match=message):
            crds.api.apply(wrong, dry_run=True)


def test_karpenters_nodes_start_with_the_taint_that_karpenter_knows_to_go() -> None:
    node_class, pool, *_ = karpenter()
    template = pool["spec"]["template"]
    assert template["spec"]["startupTaints"] == [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]
    assert "taints" not in template["spec"]
    assert template["metadata"]["labels"] == {"node-group": "multus"}
    options = node_class["spec"]["metadataOptions"]
    assert options == {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1}


def test_kubectl_applies_the_networks_of_the_stack_as_the_aws_cli_prints_them(crds: Cluster) -> None:
    outputs = node_group(4, 1, InterfaceTags="cnf=upf", MultusIpv6Addresses=1).outputs()
    # `--output text` writes a list's elements with tabs between them.
    printed = "\t".join(text for name, text in outputs.items() if name.startswith("NodeNetwork"))
    assert applied(crds, printed) == [f"nodenetwork.multus-eni.io/multus{number}" for number in range(1, 5)]


def test_kubectl_applies_the_networks_of_terraforms_output(crds: Cluster) -> None:
    check = CheckNodegroup(programs(["check-nodegroup"])["check-nodegroup"])
    printed = planned_node_group(check).outputs["node_networks"]
    assert applied(crds, printed) == [f"nodenetwork.multus-eni.io/{name}" for name in ("oam", "signalling")]


def applied(cluster: Cluster, manifests: str) -> list[str]:
    """Return what kubectl says that it would create."""
    kubeconfig = cluster.plane.kubeconfig(cluster.plane.admin)
    kubectl = programs(["kubectl"])["kubectl"]
    done = subprocess.run(
        [kubectl, f"--kubeconfig={kubeconfig}", "apply", "--dry-run=server", "--output=name", "-f", "-"],
        input=manifests,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **LAZY_GC},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
