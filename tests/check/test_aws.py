"""`--aws`: what EC2 shows of the nodes, read over the wire from the double."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from check.model import AWS, ENDPOINTS, RESERVATIONS, Scope, Snapshot, Verdict
from check.reader import read_snapshot
from check.run import run_checks
from check.sources.aws import with_aws
from tests.doubles import Doubles, Fault
from tests.ipagent import worlds
from tests.ipagent.worlds import ENI_1, KEY, REGION, SECRET, tagged

INSTANCE = "i-0a000000000000001"
NETWORK = '{"type": "ipvlan", "master": "eth1", "ipam": {"type": "whereabouts", "range": "10.99.0.0/24"}}'

GROUP = "sg-0c000000000000001"
ENDPOINT = {"id": "vpce-0c000000000000001", "vpc": worlds.VPC, "service": f"com.amazonaws.{REGION}.ec2"}
PRIVATE = {
    "security_groups": [{"id": GROUP, "vpc": worlds.VPC, "name": "endpoints"}],
    "vpc_endpoints": [ENDPOINT | {"groups": [GROUP]}],
}
"""A VPC without a way out of it, and an endpoint whose security group lets nobody in."""
POLICY = Path(__file__).parents[2] / "examples" / "iam" / "check.json"


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Doubles]:
    with Doubles(tagged(worlds.world(), ENI_1) | PRIVATE) as served:
        for name, value in (
            ("AWS_ENDPOINT_URL_EC2", served.ec2_url),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ):
            monkeypatch.setenv(name, value)
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        yield served


def cluster(provider: str) -> Snapshot:
    node = {
        "kind": "Node",
        "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/region": REGION}},
        "spec": {"providerID": provider},
    }
    network = {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "far", "namespace": "apps"},
        "spec": {"config": NETWORK},
    }
    return read_snapshot([node, network], 0.0)


def results(snapshot: Snapshot) -> dict[str, tuple[Verdict, tuple[str, ...]]]:
    return {each.check.id: (each.verdict, each.details) for each in run_checks(snapshot, Scope(pre=True))}


@pytest.mark.usefixtures("doubles")
def test_the_enis_of_the_nodes_are_judged_as_ec2_shows_them() -> None:
    snapshot = with_aws(cluster(f"aws:///eu-central-1a/{INSTANCE}"))
    assert AWS not in snapshot.missing
    found = results(snapshot)
    verdict, untagged = found["nodes-eni-tags"]
    assert verdict is Verdict.ERROR
    # One of the node's ENIs for pods has the tag.
    assert untagged
    assert not any(ENI_1 in text for text in untagged)
    assert all(
        text.endswith("of node-1 lacks the tag node.k8s.amazonaws.com/no_manage=true") for text in untagged
    )
    verdict, (outside,) = found["aws-ranges"]
    assert verdict is Verdict.ERROR
    assert outside.startswith("apps/far: 10.99.0.0/24 is in no subnet of the nodes' ENIs (10.10.")


def test_what_ec2_refuses_is_skipped_with_its_sentence(doubles: Doubles) -> None:
    doubles.put_faults(Fault("GetSubnetCidrReservations", error="UnauthorizedOperation"))
    snapshot = with_aws(cluster(f"aws:///eu-central-1a/{INSTANCE}"))
    assert "GetSubnetCidrReservations" in snapshot.missing[RESERVATIONS]
    assert results(snapshot)["aws-reservations"][0] is Verdict.SKIPPED


@pytest.mark.usefixtures("doubles")
def test_the_endpoints_of_the_nodes_vpc_are_read_with_their_groups_and_routes() -> None:
    found = results(with_aws(cluster(f"aws:///eu-central-1a/{INSTANCE}")))
    assert found["aws-endpoints"] == (Verdict.OK, ())
    assert found["aws-endpoint-groups"] == (
        Verdict.ERROR,
        (f"{GROUP} of {ENDPOINT['id']} (ec2) does not let node-1 in on TCP 443",),
    )


def test_what_is_not_told_of_endpoints_is_skipped_alone(doubles: Doubles) -> None:
    doubles.put_faults(Fault("DescribeRouteTables", error="UnauthorizedOperation"))
    snapshot = with_aws(cluster(f"aws:///eu-central-1a/{INSTANCE}"))
    assert "DescribeRouteTables" in snapshot.missing[ENDPOINTS]
    found = results(snapshot)
    assert found["aws-endpoints"][0] is found["aws-endpoint-groups"][0] is Verdict.SKIPPED
    assert found["aws-ranges"][0] is Verdict.ERROR


def test_the_shipped_policy_allows_what_is_asked_and_no_more(doubles: Doubles) -> None:
    with_aws(cluster(f"aws:///eu-central-1a/{INSTANCE}"))
    (statement,) = json.loads(POLICY.read_text())["Statement"]
    assert {f"ec2:{call.action}" for call in doubles.journal()} == set(statement["Action"])


def test_wrong_credentials_are_told(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubles.ec2_url
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN000000001")
    found = results(with_aws(cluster(f"aws:///eu-central-1a/{INSTANCE}")))
    verdict, (why,) = found["nodes-eni-tags"]
    assert verdict is Verdict.SKIPPED
    assert why.startswith("EC2 can't be asked: ")


@pytest.mark.usefixtures("doubles")
def test_nodes_elsewhere_are_no_instances() -> None:
    found = results(with_aws(cluster("kind://docker/kind/control-plane")))
    assert found["nodes-eni-tags"] == (
        Verdict.SKIPPED,
        ("no node is an EC2 instance (spec.providerID)",),
    )
