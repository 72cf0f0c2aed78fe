"""What counts as a way from a node to EC2: routes, endpoints, their names and security groups."""

from __future__ import annotations

from typing import Any

import pytest

from check.checks.endpoints import WAYS
from check.model import Scope, Verdict
from check.reader import read_snapshot
from check.run import run_checks

pytestmark = pytest.mark.pure

Object = dict[str, Any]

LOCAL: Object = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
S3: Object = {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-9", "State": "active"}
DEAD: Object = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "blackhole"}
INTERNET: Object = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}
NOWHERE = "route table rtb-1 has no way out of the VPC"


def route(key: str, target: str, destination: str = "0.0.0.0/0") -> Object:
    """Return an active route."""
    family = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
    return {family: destination, key: target, "State": "active"}


def table(*routes: Object, main: bool = True, name: str = "rtb-1") -> Object:
    association: Object = {"Main": True} if main else {"Main": False, "SubnetId": "subnet-1"}
    return {"RouteTableId": name, "VpcId": "vpc-1", "Associations": [association], "Routes": [LOCAL, *routes]}


def endpoint(service: str = "com.amazonaws.eu-central-1.ec2", **changes: Any) -> Object:
    return {
        "VpcEndpointId": "vpce-1",
        "VpcEndpointType": "Interface",
        "VpcId": "vpc-1",
        "ServiceName": service,
        "State": "available",
        "PrivateDnsEnabled": True,
        "Groups": [{"GroupId": "sg-1"}],
    } | changes


def rule(**changes: Any) -> Object:
    return {
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "IpRanges": [{"CidrIp": "10.0.0.0/16"}],
    } | changes


def node(env: tuple[str, ...] = ()) -> list[Object]:
    """Return a node, and a controller with these variables."""
    labels = {"app.kubernetes.io/part-of": "multus-eni-injector", "app.kubernetes.io/component": "controller"}
    container = {"name": "controller", "env": [{"name": name, "value": "x"} for name in env]}
    return [
        {"kind": "Node", "metadata": {"name": "node-1"}, "spec": {"providerID": "aws:///eu-central-1a/i-1"}},
        {
            "kind": "Pod",
            "metadata": {"name": "controller", "namespace": "injector", "labels": labels},
            "spec": {"containers": [container]},
            "status": {"phase": "Running"},
        },
    ]


def found(
    routes: list[Object],
    endpoints: list[Object],
    *,
    rules: list[Object] | None = None,
    eni: Object | None = None,
    others: tuple[Object, ...] = (),
    owner: str = "111122223333",
    env: tuple[str, ...] = (),
) -> dict[str, tuple[Verdict, tuple[str, ...]]]:
    """Return what the checks say of one node in subnet-1."""
    interface = {
        "NetworkInterfaceId": "eni-1",
        "VpcId": "vpc-1",
        "SubnetId": "subnet-1",
        "OwnerId": "111122223333",
        "PrivateIpAddress": "10.0.1.10",
        "Groups": [{"GroupId": "sg-nodes"}],
        "Attachment": {"InstanceId": "i-1", "DeviceIndex": 0, "NetworkCardIndex": 0, "Status": "attached"},
    }
    answers: list[Object] = [
        {"NetworkInterfaces": [interface | (eni or {}), *(interface | each for each in others)]},
        {"Reservations": []},
        {"Subnets": [{"SubnetId": "subnet-1", "OwnerId": owner}]},
        {"RouteTables": routes},
        {"VpcEndpoints": endpoints},
        {"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": [rule()] if rules is None else rules}]},
    ]
    snapshot = read_snapshot([*node(env), *answers], 0.0)
    results = run_checks(snapshot, Scope(pre=True), WAYS)
    return {each.check.id: (each.verdict, each.details) for each in results}


@pytest.mark.parametrize(
    "way",
    [
        route("NatGatewayId", "nat-1"),
        route("TransitGatewayId", "tgw-1"),
        route("TransitGatewayId", "tgw-1", "10.0.0.0/8"),
        route("VpcPeeringConnectionId", "pcx-1", "10.9.0.0/16"),
        route("NetworkInterfaceId", "eni-9"),
        route("GatewayId", "vgw-1", "192.168.0.0/16"),
        route("GatewayId", "vpce-2"),
        route("EgressOnlyInternetGatewayId", "eigw-1", "::/0"),
        route("GatewayId", "igw-1", "::/0"),
    ],
)
def test_a_route_out_of_the_vpc_is_a_way(way: Object) -> None:
    assert found([table(way)], [])["aws-endpoints"] == (Verdict.OK, ())


@pytest.mark.parametrize(
    ("routes", "why"),
    [
        ([], NOWHERE),
        ([S3], NOWHERE),
        ([DEAD], f"{NOWHERE} (nat-1 is a blackhole)"),
        ([INTERNET], "route table rtb-1 leads out by igw-1, which needs a public address on the node"),
    ],
)
def test_other_routes_need_an_endpoint(routes: list[Object], why: str) -> None:
    (_, details) = found([table(*routes)], [])["aws-endpoints"]
    assert details == (f"node-1 in subnet-1: {why}, and vpc-1 has no interface endpoint for ec2",)
    assert found([table(*routes)], [endpoint()])["aws-endpoints"] == (Verdict.OK, ())


def test_a_public_address_leaves_by_the_internet_gateway() -> None:
    public = {"Association": {"PublicIp": "198.51.100.7"}}
    assert found([table(INTERNET)], [], eni=public)["aws-endpoints"] == (Verdict.OK, ())


def test_a_subnets_own_route_table_comes_before_the_main_one() -> None:
    main, own = table(route("NatGatewayId", "nat-1")), table(main=False, name="rtb-2")
    (verdict, details) = found([main, own], [])["aws-endpoints"]
    assert verdict is Verdict.ERROR
    assert details[0].startswith("node-1 in subnet-1: route table rtb-2 ")


def test_without_a_route_table_nothing_is_said() -> None:
    assert found([], [])["aws-endpoints"] == (Verdict.OK, ())


@pytest.mark.parametrize(
    "other",
    [
        endpoint(VpcId="vpc-2"),
        endpoint("com.amazonaws.eu-central-1.ec2messages"),
        endpoint(VpcEndpointType="Gateway"),
        endpoint(State="pendingAcceptance"),
    ],
)
def test_an_endpoint_is_of_the_service_and_the_vpc_and_available(other: Object) -> None:
    assert found([table()], [other])["aws-endpoints"][0] is Verdict.ERROR


def test_the_state_of_an_endpoint_is_told() -> None:
    (_, (detail,)) = found([table()], [endpoint(State="pendingAcceptance")])["aws-endpoints"]
    assert detail.endswith("has no interface endpoint for ec2 (vpce-1 is pendingAcceptance)")


@pytest.mark.parametrize("service", ["com.amazonaws.us-east-1.ec2-fips", "cn.com.amazonaws.cn-north-1.ec2"])
def test_endpoints_of_other_partitions_and_fips_count(service: str) -> None:
    assert found([table()], [endpoint(service)])["aws-endpoints"] == (Verdict.OK, ())


@pytest.mark.parametrize(
    ("variable", "service"),
    [("AWS_ROLE_ARN", "sts"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "eks-auth")],
)
def test_credentials_need_their_own_endpoint(variable: str, service: str) -> None:
    (_, details) = found([table()], [endpoint()], env=(variable,))["aws-endpoints"]
    assert details == (f"node-1 in subnet-1: {NOWHERE}, and vpc-1 has no interface endpoint for {service}",)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_EC2", "HTTPS_PROXY"])
def test_calls_that_go_another_way_are_not_followed(variable: str) -> None:
    for verdict, details in found([table()], [], env=(variable,)).values():
        assert (verdict, details) == (Verdict.SKIPPED, (f"calls to EC2 go where {variable} says",))


@pytest.mark.parametrize(
    ("variables", "service"),
    [
        (("AWS_ENDPOINT_URL_EC2", "AWS_ROLE_ARN"), "sts"),
        (("AWS_ENDPOINT_URL_EC2", "AWS_CONTAINER_CREDENTIALS_FULL_URI"), "eks-auth"),
        (("AWS_ENDPOINT_URL_STS", "AWS_ROLE_ARN"), "ec2"),
    ],
)
def test_another_way_of_one_service_is_no_way_of_the_others(variables: tuple[str, ...], service: str) -> None:
    (_, details) = found([table()], [], env=variables)["aws-endpoints"]
    assert details == (f"node-1 in subnet-1: {NOWHERE}, and vpc-1 has no interface endpoint for {service}",)


def test_endpoints_of_a_shared_vpc_are_not_shown_to_its_users() -> None:
    for verdict, details in found([table()], [], owner="444455556666").values():
        assert verdict is Verdict.SKIPPED
        assert details == ("subnet-1 is shared by another account, whose endpoints are not shown",)


def test_a_private_dns_name_is_needed_where_there_is_no_other_way() -> None:
    nameless = [endpoint(PrivateDnsEnabled=False)]
    assert found([table()], nameless)["aws-endpoint-dns"] == (
        Verdict.WARNING,
        ("vpce-1 (ec2) of vpc-1 has no private DNS name",),
    )
    assert found([table(route("NatGatewayId", "nat-1"))], nameless)["aws-endpoint-dns"] == (Verdict.OK, ())


NAMES = [
    {"DnsName": f"vpce-1-ab12{zone}.ec2.eu-central-1.vpce.amazonaws.com"} for zone in ("-eu-central-1a", "")
]


@pytest.mark.parametrize(
    ("changes", "rules", "more"),
    [
        ({"DnsEntries": NAMES}, None, ", only vpce-1-ab12.ec2.eu-central-1.vpce.amazonaws.com"),
        ({"DnsEntries": [{"DnsName": "ec2.eu-central-1.amazonaws.com"}]}, None, ""),
        ({"DnsEntries": None}, [], "; sg-1 does not let node-1 in on TCP 443"),
        ({"Groups": [{"GroupId": "sg-unknown"}]}, [], ""),
        ({"Groups": []}, [], ""),
    ],
    ids=["its own name", "another name", "closed", "rules not known", "no group"],
)
def test_what_an_endpoint_without_a_private_name_has_is_told(
    changes: Object, rules: list[Object] | None, more: str
) -> None:
    nameless = [endpoint(PrivateDnsEnabled=False, **changes)]
    (_, (detail,)) = found([table()], nameless, rules=rules)["aws-endpoint-dns"]
    assert detail == f"vpce-1 (ec2) of vpc-1 has no private DNS name{more}"


@pytest.mark.parametrize(
    "allowed",
    [
        rule(),
        rule(IpProtocol="-1", FromPort=None, ToPort=None),
        rule(FromPort=0, ToPort=65535),
        rule(IpRanges=[], UserIdGroupPairs=[{"GroupId": "sg-nodes"}]),
        rule(IpRanges=[], PrefixListIds=[{"PrefixListId": "pl-7"}]),
    ],
)
def test_a_rule_lets_the_node_in(allowed: Object) -> None:
    assert found([table()], [endpoint()], rules=[allowed])["aws-endpoint-groups"] == (Verdict.OK, ())


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [rule(IpProtocol="udp")],
        [rule(FromPort=80, ToPort=80)],
        [rule(IpRanges=[{"CidrIp": "10.1.0.0/16"}])],
        [rule(IpRanges=[], UserIdGroupPairs=[{"GroupId": "sg-others"}])],
    ],
)
def test_without_such_a_rule_the_private_name_leads_nowhere_even_beside_a_nat_gateway(
    rules: list[Object],
) -> None:
    (verdict, details) = found([table(route("NatGatewayId", "nat-1"))], [endpoint()], rules=rules)[
        "aws-endpoint-groups"
    ]
    assert verdict is Verdict.ERROR
    assert details == ("sg-1 of vpce-1 (ec2) does not let node-1 in on TCP 443",)


OF_THE_VPC_CNI: Object = {
    "NetworkInterfaceId": "eni-2",
    "Description": "aws-K8S-i-1",
    "PrivateIpAddress": "10.0.2.10",
    "Groups": [{"GroupId": "sg-pods"}],
    "Attachment": {"InstanceId": "i-1", "DeviceIndex": 1, "NetworkCardIndex": 0, "Status": "attached"},
}


@pytest.mark.parametrize(
    ("eni", "verdict"),
    [
        (OF_THE_VPC_CNI, Verdict.OK),
        # An ENI for Multus calls nobody.
        (OF_THE_VPC_CNI | {"Description": ""}, Verdict.ERROR),
    ],
)
def test_with_the_backend_direct_pods_call_from_the_enis_of_the_vpc_cni(
    eni: Object, verdict: Verdict
) -> None:
    pods = rule(IpRanges=[], UserIdGroupPairs=[{"GroupId": "sg-pods"}])
    assert found([table()], [endpoint()], rules=[pods], others=(eni,))["aws-endpoint-groups"][0] is verdict


def test_an_endpoint_without_a_private_name_may_be_closed() -> None:
    closed = found([table()], [endpoint(PrivateDnsEnabled=False)], rules=[])
    assert closed["aws-endpoint-groups"] == (Verdict.OK, ())
