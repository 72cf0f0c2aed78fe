"""NodeENIs of aws-multi-eni-controller as NodeNetworks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from multus_eni.cli import main
from multus_eni.convert_node_eni import convert

pytestmark = pytest.mark.pure

SUBNETS = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"]
GROUP = "sg-0aaaaaaaaaaaaaaaa"
SPEC: dict[str, Any] = {
    "nodeSelector": {"ng": "multi-eni"},
    "subnetID": SUBNETS[0],
    "securityGroupIDs": [GROUP],
    "deviceIndex": 1,
    "deleteOnTermination": True,
}
CONVERTED: dict[str, Any] = {
    "nodeSelector": {"matchLabels": {"ng": "multi-eni"}},
    "subnetSelectorTerms": [{"id": SUBNETS[0]}],
    "securityGroupSelectorTerms": [{"id": GROUP}],
}


def node_eni(name: str = "oam", **spec: Any) -> dict[str, Any]:
    """Make a NodeENI; None leaves a key of the spec out."""
    found = {key: value for key, value in {**SPEC, **spec}.items() if value is not None}
    return {
        "apiVersion": "networking.k8s.aws/v1alpha1",
        "kind": "NodeENI",
        "metadata": {"name": name},
        "spec": found,
    }


def test_what_every_node_eni_has_is_carried_over_without_a_warning() -> None:
    found = convert(node_eni())
    assert found.network == {
        "apiVersion": "multus-eni.io/v1alpha1",
        "kind": "NodeNetwork",
        "metadata": {"name": "oam"},
        "spec": CONVERTED,
    }
    assert found.warnings == ()


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "MTU": ({"mtu": 9000}, {"link": {"mtu": 9000}}, []),
    "an MTU that no interface has": ({"mtu": 100}, {}, ["mtu 100 is left out"]),
    "ENIs that outlive their instance": ({"deleteOnTermination": False}, {"deleteOnTermination": False}, []),
    "several subnets": (
        {"subnetID": None, "subnetIDs": SUBNETS},
        {"subnetSelectorTerms": [{"id": each} for each in SUBNETS]},
        ["a node gets one ENI, in that of its zone"],
    ),
    "subnets by name": (
        {"subnetID": None, "subnetName": "oam-a"},
        {"subnetSelectorTerms": [{"tags": {"Name": "oam-a"}}]},
        [],
    ),
    "subnets by id and name": ({"subnetNames": ["oam-a"]}, {}, ["the subnets' names oam-a are left out"]),
    "no subnet": (
        {"subnetID": None},
        {"subnetSelectorTerms": [{"tags": {"multus": "oam"}}]},
        ["it names no subnet"],
    ),
    "a subnet's id that is none": (
        {"subnetID": "oam-a"},
        {"subnetSelectorTerms": [{"tags": {"multus": "oam"}}]},
        ["oam-a is left out", "it names no subnet"],
    ),
    "security groups by name": (
        {"securityGroupIDs": None, "securityGroupNames": ["core"]},
        {"securityGroupSelectorTerms": [{"tags": {"Name": "core"}}]},
        ["not by their group names: tag core"],
    ),
    "no security group": (
        {"securityGroupIDs": []},
        {"securityGroupSelectorTerms": [{"tags": {"multus": "oam"}}]},
        ["a VPC's default group is refused"],
    ),
    "device index": ({"deviceIndex": 3}, {}, ["deviceIndex 3 is left out"]),
    "description": ({"description": "core"}, {}, ["description is left out"]),
    "DPDK": (
        {"enableDPDK": True, "dpdkDriver": "vfio-pci", "dpdkResourceName": "intel.com/x"},
        {},
        ["dpdkDriver is left out", "dpdkResourceName is left out", "enableDPDK is left out"],
    ),
    "DPDK that is off": ({"enableDPDK": False}, {}, []),
    "a field of later versions": ({"prefixes": 2}, {}, ["NodeNetworks have nothing like it"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_field_is_carried_over_or_named(case: str) -> None:
    spec, changed, warnings = CASES[case]
    found = convert(node_eni(**spec))
    assert found.network["spec"] == {**CONVERTED, **changed}
    assert len(found.warnings) == len(warnings)
    for text, warning in zip(warnings, found.warnings, strict=True):
        assert text in warning


def test_a_name_that_no_node_network_may_have_is_changed() -> None:
    found = convert(node_eni("core.oam"))
    assert found.network["metadata"]["name"] == "core-oam"
    assert "its name becomes core-oam" in found.warnings[0]


def test_labels_stay_and_annotations_are_named() -> None:
    eni = node_eni()
    eni["metadata"] |= {
        "labels": {"team": "core"},
        "annotations": {"owner": "core", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    found = convert(eni)
    assert found.network["metadata"] == {"name": "oam", "labels": {"team": "core"}}
    assert found.warnings == ("annotations are left out: owner",)


def test_a_list_of_kubectl_becomes_documents_that_can_be_applied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [node_eni("oam"), node_eni("sig", description="signalling")]
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(listed)))
    assert main(["convert", "-f", "-"]) == 0
    said = capsys.readouterr()
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(said.out)]
    assert names == ["oam", "sig"]
    assert said.err.startswith("sig: description is left out")


HEAD = "apiVersion: networking.k8s.aws/v1alpha1, kind: NodeENI"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no NodeENI"),
        ("text", "str is not a NodeENI"),
        ("{items: []}", "there is no NodeENI"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}}", "Pod is not a NodeENI"),
        (f"{{{HEAD}, metadata: {{name: a}}}}", "has metadata.name and spec"),
        (f"{{{HEAD}, metadata: a, spec: {{}}}}", "has metadata.name and spec"),
        (
            f"{{{HEAD}, metadata: {{name: a}}, spec: {{subnetID: 1}}}}",
            "NodeENI a: spec.subnetID has to be text",
        ),
        (
            f"{{{HEAD}, metadata: {{name: a}}, spec: {{nodeSelector: [b]}}}}",
            "nodeSelector has to be a mapping",
        ),
        ("{", "while parsing"),
        ("[" * 500, "recursion"),
    ],
)
def test_what_can_not_be_converted_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    path = tmp_path / "enis.yaml"
    path.write_text(text, encoding="utf-8")
    assert main(["convert", "-f", str(path)]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "-f", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
