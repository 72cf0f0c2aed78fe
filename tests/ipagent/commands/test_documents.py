"""The keys of `--output json`: stable, and each of them in docs/agent.md."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.errors import NoImds, NoPermission
from ipagent.assign.topology import EniDetails
from ipagent.commands import addresses, dry_run, enis, release
from ipagent.commands.context import NodeEnis
from ipagent.commands.enis import EniView, NodeView
from ipagent.commands.release import AddressStatus, Release, State
from ipagent.commands.render import Palette
from tests.ipagent.commands.test_dry_run import ACCESS, OTHER, on, seen, view
from tests.ipagent.fakes import ENI_0, ENI_1, ip
from tests.json_values import keys

pytestmark = pytest.mark.pure

DOCS = (Path(__file__).parents[3] / "docs" / "agent.md").read_text(encoding="utf-8")
DETAILS = EniDetails("eni-1", ip("10.10.1.10"), (ip("10.10.1.60"),), instance_id="i-1", device_number=1)
SILENT = NoPermission("may not describe")

POD = view(on("10.10.1.80"), on("10.10.1.50", OTHER), ec2_error=SILENT)
NODE = NodeView(
    (
        EniView(ENI_0, (), None, None),
        EniView(ENI_1, ("net1",), frozenset({ip("10.10.1.10"), ip("10.10.1.61")}), DETAILS),
    ),
    NodeEnis((ENI_0, ENI_1), "imds", NoImds("IMDS is late")),
    ACCESS,
    SILENT,
    ("a warning",),
)
RELEASE = Release(DETAILS, (AddressStatus(ip("10.10.1.50"), State.ABSENT, OTHER),), ACCESS, SILENT)

DOCUMENTS: dict[str, dict[str, Any]] = {
    "addresses": addresses.as_document(POD),
    "dry run": dry_run.as_document(seen(POD)),
    "enis": enis.as_document(NODE),
    "release": release.as_document(RELEASE),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_key_is_documented(name: str) -> None:
    assert json.loads(json.dumps(DOCUMENTS[name])) == DOCUMENTS[name]
    assert {
        key for key in keys(DOCUMENTS[name]) if f"`{key}`" not in DOCS and f"`{key}[]`" not in DOCS
    } == set()


def test_the_first_level_is_stable() -> None:
    pod = ["pod", "addresses", "withoutAddresses", "missingInterfaces", "topology", "ec2", "warnings"]
    assert {name: list(document) for name, document in DOCUMENTS.items()} == {
        "addresses": pod,
        "dry run": ["mode", "takeover", "releaseOnExit", "calls", "exitCode", "message", *pod],
        "enis": ["enis", "topology", "ec2", "warnings"],
        "release": ["eni", "addresses", "ec2", "error"],
    }


def test_the_text_of_enis_marks_differences_and_says_what_is_hidden() -> None:
    text = enis.as_text(NODE, Palette(False))
    assert "eni-0: device number 0 belongs to the VPC CNI" in text
    assert "eni-1: 10.10.1.61: only in IMDS" in text
    assert "eni-1: 10.10.1.60: only in EC2" in text
    assert "eni-1: it lacks the tag" in text
    assert "Warning: a warning" in text
    assert "ENIs unknown: IMDS is late. " in text
    assert "EC2 unknown: may not describe. " in text
    assert NODE.nodes.exit_code == ExitCode.NO_IMDS
    assert "\x1b[31m" in enis.as_text(NODE, Palette(True))


def test_the_text_of_addresses_names_the_other_holder_and_what_is_hidden() -> None:
    text = addresses.as_text(POD, Palette(False))
    assert "held by eni-9 (device number 1 of i-9)" in text
    assert "EC2 unknown: may not describe. " in text
    assert POD.nodes.exit_code == ExitCode.OK


def test_an_elastic_ip_is_told_beside_its_address() -> None:
    (first, *_) = POD.addresses
    private = str(first.held.holding.address)
    seen = replace(POD, elastic_ips={private: "198.51.100.1"})
    assert f"Elastic IP: 198.51.100.1 belongs to {private}\n" in addresses.as_text(seen, Palette(False))
    assert addresses.as_document(seen)["addresses"][0]["elasticIp"] == "198.51.100.1"
    assert addresses.as_document(POD)["addresses"][0]["elasticIp"] is None


def test_a_pod_without_addresses_says_so() -> None:
    assert addresses.as_text(view(), Palette(False)) == "The pod holds no addresses.\n"
