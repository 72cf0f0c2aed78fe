"""The controller's calls over the wire, to moto: they are understood, and so are the answers and refusals.

moto accepts nearly everything; what EC2 refuses is in the reconciler's test_ec2_error_conditions.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from common.agent_settings import Credentials
from ipagent.controller.ec2.client import ControllerEc2Client
from ipagent.controller.model.actions import (
    Attach,
    Call,
    Create,
    Delete,
    DescribeAll,
    DescribeEnis,
    DescribeInstances,
    Detach,
    Modify,
    ReadLimits,
    Resolve,
)
from ipagent.controller.model.ec2_snapshot import ATTACHED, AVAILABLE, Eni
from ipagent.controller.model.node_network import Term
from ipagent.controller.reconcile.ec2_answers import Attachment, Done, Enis, Found, Refused, TypeLimits
from ipagent.controller.reconcile.ec2_error_conditions import Kind

REGION = "eu-central-1"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "a-secret-of-the-tests"
TAGS = (("multus-eni.io/cluster", "prod"), ("node.k8s.amazonaws.com/no_manage", "true"))


@dataclass(frozen=True)
class Account:
    """A VPC with a subnet, a group of its own, and an instance."""

    vpc: str
    subnet: str
    group: str
    instance: str
    zone: str


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControllerEc2Client]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = ControllerEc2Client(REGION, Credentials.CHAIN, 2)
    yield found
    found.close()


@pytest.fixture(scope="module")
def account(url: str) -> Account:
    ec2 = boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    vpc = ec2.create_vpc(CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
    tagged: Any = [{"ResourceType": "subnet", "Tags": [{"Key": "multus", "Value": "oam"}]}]
    subnet = ec2.create_subnet(
        VpcId=vpc,
        CidrBlock="10.10.1.0/24",
        TagSpecifications=tagged,
    )["Subnet"]
    group = ec2.create_security_group(GroupName="oam", Description="oam", VpcId=vpc)["GroupId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet["SubnetId"])
    instance = launched["Instances"][0]["InstanceId"]
    ec2.close()
    return Account(vpc, subnet["SubnetId"], group, instance, subnet["AvailabilityZone"])


def enis(client: ControllerEc2Client, call: Call) -> tuple[Eni, ...]:
    answer = client.execute(call)
    assert isinstance(answer, Enis), answer
    return answer.enis


def create(account: Account) -> Create:
    return Create("n1.oam", "token", account.subnet, (account.group,), TAGS, "multus-eni: oam of n1")


def test_an_eni_from_its_creation_to_its_end(client: ControllerEc2Client, account: Account) -> None:
    (made,) = enis(client, create(account))
    assert (made.subnet, made.vpc, made.zone) == (account.subnet, account.vpc, account.zone)
    assert (made.state, made.instance, made.groups) == (AVAILABLE, "", frozenset({account.group}))
    assert dict(TAGS).items() <= made.tags.items()
    assert made.no_manage
    attached = client.execute(Attach("n1.oam", made.id, account.instance, 0, 1))
    assert isinstance(attached, Attachment)
    (shown,) = enis(client, DescribeEnis((made.id, "eni-0123456789abcdef0")))
    assert (shown.state, shown.instance, shown.attachment) == (ATTACHED, account.instance, attached.id)
    assert (shown.card, shown.device, shown.mac) == (0, 1, made.mac)
    assert {eni.device for eni in enis(client, DescribeInstances((account.instance,)))} == {0, 1}
    assert made.id in {eni.id for eni in enis(client, DescribeAll((account.vpc,)))}
    assert client.execute(Modify("n1.oam", made.id, source_dest_check=False)) == Done()
    (changed,) = enis(client, DescribeEnis((made.id,)))
    assert not changed.source_dest_check
    assert client.execute(Modify("n1.oam", made.id, groups=(account.group,))) == Done()
    last = Modify("n1.oam", made.id, delete_on_termination=True, attachment=attached.id)
    assert client.execute(last) == Done()
    assert client.execute(Detach("n1.oam", made.id, attached.id)) == Done()
    assert client.execute(Delete("n1.oam", made.id)) == Done()
    assert enis(client, DescribeEnis((made.id,))) == ()
    assert client.calls["CreateNetworkInterface", "ok"] == 1


def test_terms_find_subnets_and_groups_by_id_and_tags(client: ControllerEc2Client, account: Account) -> None:
    by_tags = (Term(tags=(("multus", "oam"),)),)
    answer = client.execute(Resolve("oam", by_tags, (Term(account.group),)))
    assert isinstance(answer, Found)
    assert account.subnet in {each.id for each in answer.subnets}
    assert [(each.id, each.name, each.vpc) for each in answer.groups] == [(account.group, "oam", account.vpc)]
    nothing = client.execute(Resolve("oam", (Term(tags=(("multus", "else"),)),), (Term(tags=(("a", "b"),)),)))
    assert nothing == Found((), ())


def test_limits_of_known_types(client: ControllerEc2Client) -> None:
    answer = client.execute(ReadLimits(("m5.xlarge", "x0.unknown")))
    assert isinstance(answer, TypeLimits)
    assert answer.limits.keys() == {"m5.xlarge"}
    assert (answer.limits["m5.xlarge"].interfaces, answer.limits["m5.xlarge"].ipv4) == (4, 15)


def test_refusals_are_answers(client: ControllerEc2Client) -> None:
    answer = client.execute(Delete("n1.oam", "eni-0123456789abcdef0"))
    assert isinstance(answer, Refused)
    assert (answer.kind, answer.action) == (Kind.ENI_GONE, "DeleteNetworkInterface")
    assert "InvalidNetworkInterfaceID.NotFound" in answer.text
    assert client.calls["DeleteNetworkInterface", Kind.ENI_GONE] == 1


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"NetworkInterfaces": [{"SubnetId": "subnet-1"}]},
        {"NetworkInterfaces": [{"NetworkInterfaceId": "eni-1", "Ipv4Prefixes": [{"Ipv4Prefix": "x"}]}]},
        {"NetworkInterfaces": [], "NextToken": "the same"},
    ],
    ids=["no list", "no id", "no prefix", "pages without end"],
)
def test_an_answer_that_can_not_be_read_is_tried_again(
    client: ControllerEc2Client, monkeypatch: pytest.MonkeyPatch, shown: dict[str, Any]
) -> None:
    monkeypatch.setattr(client._client, "describe_network_interfaces", lambda **_: shown)  # noqa: SLF001
    answer = client.execute(DescribeEnis(("eni-1",)))
    assert isinstance(answer, Refused)
    assert (answer.kind, answer.action) == (Kind.TRANSIENT, "DescribeNetworkInterfaces")
    assert "the answer can't be read" in answer.text


def test_an_endpoint_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, client: ControllerEc2Client
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1")
    answer = ControllerEc2Client(REGION, Credentials.CHAIN, 1).execute(DescribeAll())
    assert isinstance(answer, Refused)
    assert answer.kind is Kind.UNREACHABLE
    assert client.region == REGION


@pytest.mark.parametrize(
    "env",
    [
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/does/not/exist",
        },
        {
            "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/controller",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/does/not/exist",
        },
        {},
    ],
    ids=["EKS Pod Identity", "IRSA", "none"],
)
def test_credentials_that_can_not_be_read_are_a_refusal(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with closing(ControllerEc2Client(REGION, Credentials.CHAIN, 2)) as made:
        answer = made.execute(ReadLimits(("t3.medium",)))
        # One that is made after them is refused likewise.
        again = made.execute(Delete("n1.oam", "eni-0123456789abcdef0"))
    assert isinstance(answer, Refused)
    assert isinstance(again, Refused)
    assert (answer.kind, again.kind) == (Kind.NO_CREDENTIALS, Kind.NO_CREDENTIALS)
    assert (answer.action, again.action) == ("DescribeInstanceTypes", "DeleteNetworkInterface")


def test_credentials_that_come_after_the_start_are_found(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = ControllerEc2Client(REGION, Credentials.CHAIN, 2)
    refused = made.execute(ReadLimits(("t3.medium",)))
    assert isinstance(refused, Refused)
    assert refused.kind is Kind.NO_CREDENTIALS
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-tests")
    assert isinstance(made.execute(ReadLimits(("t3.medium",))), TypeLimits)
    made.close()
