"""What the node agent knows of its instance: by EC2 and IMDS, both over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import boto3
import pytest

from common.agent_settings import Credentials
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import Holding
from ipagent.assign.errors import AgentError, NoEni, NoImds, NoPermission
from ipagent.assign.holders import NO_MANAGE, why_immovable, why_not_ours
from ipagent.assign.placement import place
from ipagent.assign.topology import EniDetails
from ipagent.aws.aws_access import SILENT_SECONDS
from ipagent.aws.describe_enis import as_eni, details, subnet_ranges
from ipagent.aws.node_cloud import ENV_INSTANCE_ID, NodeCloud
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.doubles.state.identifiers import attachment_of
from tests.ipagent import worlds
from tests.ipagent.aws.scripted_server import scripted_server
from tests.ipagent.fakes import Lines, Time, ip
from tests.ipagent.worlds import (
    ENI_0,
    ENI_1,
    ENI_2,
    MAC_0,
    MAC_1,
    MAC_2,
    MAC_TWIN,
    POD_CIDR,
    POD_CIDR6,
    REGION,
    TWIN,
    tagged,
)

FOREIGN = "5e:00:00:00:00:01"
NODE = "i-0a000000000000001"
BY_ENV = {"AWS_REGION": REGION, ENV_INSTANCE_ID: NODE}
NO_IMDS = {"AWS_EC2_METADATA_DISABLED": "true"}

Make = Callable[..., NodeCloud]


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    world = worlds.world(secondaries=["10.10.1.60"], ipv6s=["2001:db8:1::60"])
    with Doubles(tagged(world, ENI_1, ENI_2)) as served:
        yield served


@pytest.fixture
def make(doubles: Doubles, lines: Lines, monkeypatch: pytest.MonkeyPatch, time: Time) -> Iterator[Make]:
    """Make the node agent's cloud with the double's endpoints and more variables."""
    env = worlds.environment(doubles)
    made: list[NodeCloud] = []

    def make(*, require_tag: bool = True, **more: str) -> NodeCloud:
        given = env | more
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        chain = Credentials.CHAIN
        made.append(NodeCloud(given, chain, lines.log, time.timing, require_tag=require_tag))
        return made[-1]

    yield make
    for instance in made:
        instance.close()


def describes(doubles: Doubles) -> int:
    return len(doubles.journal("DescribeNetworkInterfaces"))


def placed_at(instance: NodeCloud, address: str, mac: str) -> tuple[str, str]:
    """Return the ENI that an address is placed on, or why on none."""
    found = place([Holding("net1", mac, ip(address))], instance.topology({mac}))
    if found.placements:
        return found.placements[0].eni.id, ""
    return "", found.unplaced[0].reason


class TestDelegated:
    def test_imds_tells_of_the_prefixes_and_ec2_is_not_asked(self, make: Make, doubles: Doubles) -> None:
        cloud, ec2 = make(), boto3.client("ec2", region_name=REGION, endpoint_url=doubles.ec2_url)
        assert cloud.delegated({MAC_1})[MAC_1].prefixes == ()
        ec2.assign_private_ip_addresses(NetworkInterfaceId=ENI_1, Ipv4PrefixCount=1)
        (found,) = cloud.delegated({MAC_1, FOREIGN}).values()
        assert (found.id, [each.prefixlen for each in found.prefixes]) == (ENI_1, [28])
        assert describes(doubles) == 0

    def test_without_imds_nothing_is_known_and_it_is_not_asked_for_a_while(
        self, make: Make, doubles: Doubles, time: Time
    ) -> None:
        cloud = make(**NO_IMDS)
        assert cloud.delegated({MAC_1}) == {}
        cloud = make()
        doubles.put_faults(Injected("imds", status=503))
        assert cloud.delegated({MAC_1}) == {}
        asked = len(doubles.journal())
        assert cloud.delegated({MAC_1}) == {}
        assert len(doubles.journal()) == asked
        doubles.put_faults()
        time.now += SILENT_SECONDS
        assert MAC_1 in cloud.delegated({MAC_1})


class TestTopology:
    def test_one_call_by_the_instance_gives_all_its_enis(self, make: Make, doubles: Doubles) -> None:
        enis = make().topology({MAC_1}).enis
        assert [(eni.id, eni.mac, eni.device_number) for eni in enis] == [
            (ENI_0, MAC_0, 0),
            (ENI_1, MAC_1, 1),
            (ENI_2, MAC_2, 2),
            (TWIN, MAC_TWIN, 3),
        ]
        assert enis[1].subnet_cidrs == (ip_network(POD_CIDR), ip_network(POD_CIDR6))
        (call,) = doubles.journal("DescribeNetworkInterfaces")
        filters = {key: value for key, value in call.params.items() if key.startswith("Filter")}
        assert filters == {"Filter.1.Name": "attachment.instance-id", "Filter.1.Value.1": NODE}
        assert doubles.journal("DescribeSubnets") == ()

    @pytest.mark.parametrize(
        ("env", "imds"),
        [({}, True), ({"AWS_REGION": REGION}, True), ({ENV_INSTANCE_ID: NODE}, True), (BY_ENV, False)],
        ids=["IMDS", "the instance by IMDS", "the region by IMDS", "the environment"],
    )
    def test_the_node_knows_its_instance_id_by_environment_or_imds(
        self, make: Make, doubles: Doubles, env: dict[str, str], imds: bool
    ) -> None:
        instance = make(**env)
        instance.topology({MAC_1})
        assert instance.instance_id == NODE
        identity = [call for call in doubles.journal() if "instance-identity" in call.action]
        assert bool(identity) is imds

    def test_without_imds_and_environment_nobody_knows(self, make: Make) -> None:
        with pytest.raises(NoImds, match="switched off"):
            make(**NO_IMDS).topology({MAC_1})

    def test_an_identity_document_without_the_instance_names_what_to_do(self, make: Make) -> None:
        def answer(method: str, _: str, __: dict[str, str]) -> tuple[int, str]:
            return (200, "a-token") if method == "PUT" else (200, '{"region": "eu-central-1"}')

        with scripted_server(answer) as service:
            instance = make(AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url)
            with pytest.raises(NoImds, match="no instanceId") as caught:
                instance.topology({MAC_1})
            instance.close()
        assert ENV_INSTANCE_ID in caught.value.remedy

    def test_a_wrong_instance_is_told(self, make: Make) -> None:
        with pytest.raises(NoEni, match="no ENI of the instance i-0a0000000000000ff in eu-central-1"):
            make(**{**BY_ENV, ENV_INSTANCE_ID: "i-0a0000000000000ff"}).topology({MAC_1})

    def test_what_fails_is_told_as_what_it_is(self, make: Make, doubles: Doubles) -> None:
        doubles.put_faults(Injected("DescribeNetworkInterfaces", error="UnauthorizedOperation"))
        instance = make()
        with pytest.raises(NoPermission, match="UnauthorizedOperation"):
            instance.topology({MAC_1})
        doubles.put_faults()
        assert len(instance.topology({MAC_1}).enis) == 4

    def test_each_read_asks_ec2_and_names_what_the_enis_hold(self, make: Make, doubles: Doubles) -> None:
        instance = make()
        instance.topology({MAC_1})
        instance.assign(Assign(ENI_1, (ip("10.10.1.80"),), allow_reassignment=True))
        held = {each.eni_id: each for each in instance.topology({MAC_1}).held}
        assert held[ENI_1].holds(ip("10.10.1.80"))
        assert describes(doubles) == 2


class TestRanges:
    def test_without_imds_ec2_gives_them(self, make: Make, doubles: Doubles) -> None:
        instance = make(**BY_ENV, **NO_IMDS)
        for _ in range(2):
            eni = instance.topology({MAC_1}).enis[1]
            assert eni.subnet_cidrs == (ip_network(POD_CIDR), ip_network(POD_CIDR6))
        (call,) = doubles.journal("DescribeSubnets")
        assert {call.params[f"Filter.1.Value.{n}"] for n in (1, 2, 3)} == set(worlds.SUBNETS.values())
        assert instance.metadata(eni) is None

    def test_what_imds_does_not_show_yet_ec2_gives(self, make: Make, doubles: Doubles) -> None:
        instance = make(**BY_ENV)
        doubles.put_faults(
            Injected("imds", status=404, path=f"*{MAC_2}/subnet-ipv4-cidr-block"),
            Injected("imds", status=404, path=f"*{MAC_2}/subnet-ipv6-cidr-blocks"),
        )
        enis = instance.topology({MAC_1}).enis
        assert all(eni.subnet_cidrs for eni in enis)
        (call,) = doubles.journal("DescribeSubnets")
        assert call.params["Filter.1.Value.1"] == enis[2].subnet_id
        assert "Filter.1.Value.2" not in call.params

    def test_a_range_of_the_other_family_that_is_shown_later_is_learned(
        self, make: Make, doubles: Doubles, time: Time
    ) -> None:
        """Without it the garbage collector takes no address of that family for one of the subnet's."""
        doubles.put_faults(
            Injected("imds", status=404, path="*/subnet-ipv6-cidr-blocks"),
            Injected("DescribeSubnets", error="UnauthorizedOperation"),
        )
        instance = make(**BY_ENV)
        assert instance.topology({MAC_1}).enis[1].subnet_cidrs == (ip_network(POD_CIDR),)
        assert placed_at(instance, "2001:db8:1::80", FOREIGN)[0] == ""
        doubles.put_faults()
        time.now += SILENT_SECONDS
        assert placed_at(instance, "2001:db8:1::80", FOREIGN) == (ENI_1, "")
        assert instance.topology({MAC_1}).enis[1].subnet_cidrs == (
            ip_network(POD_CIDR),
            ip_network(POD_CIDR6),
        )

    def test_without_either_the_mac_still_names_the_eni_and_it_is_tried_again(
        self, make: Make, doubles: Doubles, lines: Lines, time: Time
    ) -> None:
        doubles.put_faults(Injected("DescribeSubnets", error="UnauthorizedOperation"))
        instance = make(**BY_ENV, **NO_IMDS)
        assert placed_at(instance, "10.10.1.80", MAC_1) == (ENI_1, "")
        assert "of unknown range" in placed_at(instance, "10.10.1.80", FOREIGN)[1]
        assert len(doubles.journal("DescribeSubnets")) == 1
        (line,) = lines.of("no-ranges")
        assert line["level"] == "warning"
        assert "UnauthorizedOperation" in line["message"]
        time.now += SILENT_SECONDS
        instance.topology({MAC_1})
        doubles.put_faults()
        time.now += SILENT_SECONDS
        assert placed_at(instance, "10.10.1.80", FOREIGN) == (ENI_1, "")
        assert [line["level"] for line in lines.of("no-ranges")] == ["warning", "debug"]

    def test_an_ipv6_range_that_imds_shows_later_is_learned(
        self, make: Make, doubles: Doubles, time: Time
    ) -> None:
        doubles.put_faults(Injected("imds", status=404, path="*/subnet-ipv6-cidr-blocks"))
        # No ENI of that subnet has an IPv6 address yet, which would say that there is a range.
        instance, address = make(), "2001:db8:2::80"
        assert placed_at(instance, address, FOREIGN)[0] == ""
        doubles.put_faults()
        assert placed_at(instance, address, FOREIGN)[0] == ""
        time.now += SILENT_SECONDS
        assert placed_at(instance, address, FOREIGN) == (ENI_2, "")
        # What IMDS shows no more, as while an entry is half there, stays known.
        doubles.put_faults(Injected("imds", status=404, path="*/subnet-ipv6-cidr-blocks"))
        time.now += SILENT_SECONDS
        assert placed_at(instance, address, FOREIGN) == (ENI_2, "")

    def test_a_range_is_learned_also_after_imds_was_silent_for_a_while(
        self, make: Make, doubles: Doubles, time: Time
    ) -> None:
        doubles.put_faults(Injected("imds", status=404, path="*/subnet-ipv6-cidr-blocks"))
        instance, address = make(), "2001:db8:2::80"
        assert placed_at(instance, address, FOREIGN)[0] == ""
        doubles.put_faults(Injected("imds", status=503))
        time.now += SILENT_SECONDS
        assert placed_at(instance, address, FOREIGN)[0] == ""
        doubles.put_faults()
        time.now += SILENT_SECONDS
        assert placed_at(instance, address, FOREIGN) == (ENI_2, "")

    def test_ranges_that_ec2_has_told_are_not_asked_for_again(
        self, make: Make, doubles: Doubles, time: Time
    ) -> None:
        instance = make(**BY_ENV, **NO_IMDS)
        for _ in range(3):
            instance.topology({MAC_1})
            time.now += SILENT_SECONDS
        assert len(doubles.journal("DescribeSubnets")) == 1


class TestWhichEnisAreOurs:
    def test_an_eni_without_the_tag_is_refused_with_what_to_do(self, make: Make) -> None:
        instance = make()
        eni, reason = placed_at(instance, "10.10.1.80", MAC_TWIN)
        assert eni == ""
        assert reason == (
            f"its interface has the MAC of {TWIN}, which lacks the tag {NO_MANAGE}=true, so that the VPC CNI "
            f"would take its addresses for its own pods: tag it (aws ec2 create-tags --resources {TWIN} "
            f"--tags Key={NO_MANAGE},Value=true)"
        )

    def test_by_subnet_only_a_tagged_one_is_chosen(self, make: Make) -> None:
        assert placed_at(make(), "10.10.1.80", FOREIGN) == (ENI_1, "")

    def test_a_tag_that_is_added_later_is_seen_when_it_is_looked_for(
        self, make: Make, doubles: Doubles
    ) -> None:
        instance = make()
        assert placed_at(instance, "10.10.1.80", MAC_TWIN)[0] == ""
        administrator = boto3.client("ec2", region_name=worlds.REGION, endpoint_url=doubles.ec2_url)
        administrator.create_tags(Resources=[TWIN], Tags=[{"Key": NO_MANAGE, "Value": "true"}])
        instance.topology({MAC_TWIN}, fresh=True)
        assert placed_at(instance, "10.10.1.80", MAC_TWIN) == (TWIN, "")

    def test_device_0_never_is_ours_whatever_its_tags(self, make: Make) -> None:
        for require_tag in (True, False):
            _, reason = placed_at(make(require_tag=require_tag), "10.10.0.80", MAC_0)
            assert "device number 0" in reason

    def test_one_that_is_being_detached_gets_no_address(self, make: Make, doubles: Doubles) -> None:
        instance = make()
        assert placed_at(instance, "10.10.1.80", MAC_1) == (ENI_1, "")
        doubles.change_settings(attach_delay_ms=3_600_000)
        administrator = boto3.client("ec2", region_name=worlds.REGION, endpoint_url=doubles.ec2_url)
        administrator.detach_network_interface(AttachmentId=attachment_of(ENI_1))
        eni, reason = placed_at(instance, "10.10.1.80", MAC_1)
        assert (eni, reason) == ("", f"its interface has the MAC of {ENI_1}, which is being detached")

    def test_the_tag_may_be_waived(self, make: Make) -> None:
        assert placed_at(make(require_tag=False), "10.10.1.80", MAC_TWIN) == (TWIN, "")


def shown(**more: Any) -> Any:
    return {
        "NetworkInterfaceId": "eni-1",
        "MacAddress": MAC_1,
        "PrivateIpAddress": "10.10.1.10",
        "PrivateIpAddresses": [{"PrivateIpAddress": "10.10.1.10", "Primary": True}],
        "Attachment": {"InstanceId": NODE, "DeviceIndex": 1},
        **more,
    }


TAG = [{"Key": NO_MANAGE, "Value": "true"}]


def owned(key: str, value: str, *more: dict[str, str]) -> EniDetails:
    return details(shown(TagSet=[{"Key": key, "Value": value}, *more]))


def associated(cidr: str, state: str | None = "associated") -> dict[str, Any]:
    return {"Ipv6CidrBlock": cidr, **({"Ipv6CidrBlockState": {"State": state}} if state else {})}


@pytest.mark.pure
@pytest.mark.parametrize(
    ("fields", "ranges"),
    [
        ({"CidrBlock": "10.10.1.0/24"}, ["10.10.1.0/24"]),
        ({"Ipv6CidrBlockAssociationSet": [associated("2001:db8::/64")]}, ["2001:db8::/64"]),
        (
            {"CidrBlock": "10.10.1.0/24", "Ipv6CidrBlockAssociationSet": [associated("2001:DB8::/64")]},
            ["10.10.1.0/24", "2001:db8::/64"],
        ),
        (
            {
                "CidrBlock": "10.10.1.0/24",
                "Ipv6CidrBlockAssociationSet": [
                    associated("2001:db8::/64", "disassociated"),
                    associated("2001:db8:1::/64", None),
                ],
            },
            ["10.10.1.0/24"],
        ),
        ({}, []),
    ],
    ids=["IPv4", "IPv6 alone", "both", "no IPv6 any more", "neither"],
)
def test_the_ranges_of_a_subnet(fields: Any, ranges: list[str]) -> None:
    assert [str(each) for each in subnet_ranges(fields)] == ranges


@pytest.mark.pure
class TestDetails:
    @pytest.mark.parametrize(
        ("fields", "managed"),
        [
            ({}, False),
            ({"RequesterManaged": False, "Operator": {"Managed": False}}, False),
            ({"RequesterManaged": True}, True),
            ({"RequesterManaged": True, "Operator": {"Managed": False}}, True),
            ({"Operator": {"Managed": True, "Principal": "eks.amazonaws.com"}}, True),
        ],
        ids=["nobody says", "no", "made by a service", "made by one, and not run", "run by one"],
    )
    def test_one_rule_says_which_enis_belong_to_a_service(
        self, fields: dict[str, Any], managed: bool
    ) -> None:
        """The agent that takes an address over, the commands and the node agent read it alike."""
        assert details(shown(**fields)).managed is managed
        found = details(shown(**fields, TagSet=TAG))
        assert found.managed is managed
        assert bool(why_not_ours(found)) is managed
        assert bool(why_immovable(ip("10.10.1.80"), details(shown(**fields)))) is managed

    @pytest.mark.parametrize(
        ("fields", "secondaries", "barred"),
        [
            ({}, [], ""),
            ({"MacAddress": MAC_1.upper(), "Unknown": {"Of": ["EC2"]}}, [], ""),
            ({"PrivateIpAddresses": []}, [], ""),
            (
                {
                    "PrivateIpAddresses": [
                        {"PrivateIpAddress": "10.10.1.10"},
                        {"PrivateIpAddress": "10.10.1.80"},
                    ]
                },
                ["10.10.1.80"],
                "",
            ),
            ({"Ipv6Addresses": [{"Ipv6Address": "2001:DB8:0::80"}]}, ["2001:db8::80"], ""),
            ({"InterfaceType": ""}, [], ""),
            ({"InterfaceType": "efa-only"}, [], "is of the type efa-only"),
            ({"TagSet": [{"Key": "eks:eni:owner"}]}, [], "as its tag eks:eni:owner= says"),
            ({"TagSet": []}, [], ""),
        ],
        ids=[
            "as it is",
            "MAC in upper case, an unknown field",
            "no addresses",
            "none is marked as primary",
            "IPv6 in another spelling",
            "no type",
            "a new type",
            "a tag without value",
            "no tags",
        ],
    )
    def test_what_ec2_could_also_say(
        self, fields: dict[str, Any], secondaries: list[str], barred: str
    ) -> None:
        found = details(shown(**fields))
        assert (found.mac, found.primary) == (MAC_1, ip("10.10.1.10"))
        assert [str(address) for address in found.secondaries] == secondaries
        assert barred in why_not_ours(found, require_tag=False)
        assert bool(barred) is bool(why_not_ours(found, require_tag=False))

    @pytest.mark.parametrize(("card", "device", "primary"), [(0, 0, True), (1, 0, False), (0, 1, False)])
    def test_only_device_0_of_card_0_is_the_primary(self, card: int, device: int, primary: bool) -> None:
        where = {"InstanceId": NODE, "DeviceIndex": device, "NetworkCardIndex": card}
        found = details(shown(Attachment=where, TagSet=TAG))
        assert found.is_primary is primary
        assert as_eni(found).usable is not primary
        assert bool(why_immovable(ip("10.10.1.80"), found)) is primary

    def test_primaries_of_both_families_are_no_secondaries(self) -> None:
        found = details(
            shown(
                PrivateIpAddresses=[
                    {"PrivateIpAddress": "10.10.1.81", "Primary": False},
                    {"PrivateIpAddress": "10.10.1.10", "Primary": True},
                    {"PrivateIpAddress": "10.10.1.80"},
                ],
                Ipv6Addresses=[
                    {"Ipv6Address": "2001:db8:1::81", "IsPrimaryIpv6": False},
                    {"Ipv6Address": "2001:db8:1::10", "IsPrimaryIpv6": True},
                ],
                Ipv4Prefixes=[{"Ipv4Prefix": "10.10.1.96/28"}],
            )
        )
        assert found.primaries == (ip("10.10.1.10"), ip("2001:db8:1::10"))
        assert found.secondaries == (ip("10.10.1.80"), ip("10.10.1.81"), ip("2001:db8:1::81"))
        assert found.prefixes == (ip_network("10.10.1.96/28"),)

    @pytest.mark.parametrize(
        ("eni", "with_tag", "without"),
        [
            (details(shown(TagSet=TAG)), "", ""),
            (details(shown()), "lacks the tag", ""),
            (details(shown(TagSet=[{"Key": NO_MANAGE, "Value": "false"}])), "lacks the tag", ""),
            (details(shown(Description="aws-K8S-i-0a")), "made by the VPC CNI", "made by the VPC CNI"),
            (details(shown(Description="aws-k8s-trunk-eni")), "made by the VPC CNI", "made by the VPC CNI"),
            (details(shown(Description="aws-k8s-branch-eni")), "made by the VPC CNI", "made by the VPC CNI"),
            (details(shown(InterfaceType="trunk", TagSet=TAG)), "of the type trunk", "of the type trunk"),
            (details(shown(InterfaceType="branch", TagSet=TAG)), "of the type branch", "of the type branch"),
            (details(shown(InterfaceType="efa-only")), "of the type efa-only", "of the type efa-only"),
            (details(shown(InterfaceType="interface", TagSet=TAG)), "", ""),
            (owned("node.k8s.amazonaws.com/instance_id", NODE), f"instance_id={NODE}", f"instance_id={NODE}"),
            (owned("cluster.k8s.amazonaws.com/name", "prod"), "name=prod", "name=prod"),
            (owned("eks:eni:owner", "amazon-vpc-cni"), "owner=amazon-vpc-cni", "owner=amazon-vpc-cni"),
            (owned("cluster.k8s.amazonaws.com/name", "prod", *TAG), "", ""),
            (details(shown(Description="aws-K8S-i-0a", TagSet=TAG)), "", ""),
            (details(shown(RequesterManaged=True, TagSet=TAG)), "AWS service", "AWS service"),
            (details(shown(Attachment={"InstanceId": NODE, "DeviceIndex": 0})), "", ""),
        ],
        ids=[
            "tagged",
            "bare",
            "another value",
            "the VPC CNI's",
            "a trunk by its description",
            "a branch by its description",
            "a trunk",
            "a branch",
            "EFA only",
            "an interface",
            "the tag of an instance",
            "the tag of a cluster",
            "the tag of an owner",
            "taken away from the VPC CNI",
            "tagged later",
            "a service's",
            "device 0",
        ],
    )
    def test_why_an_eni_is_not_ours(self, eni: EniDetails, with_tag: str, without: str) -> None:
        for require_tag, reason in ((True, with_tag), (False, without)):
            said = why_not_ours(eni, require_tag=require_tag)
            assert bool(said) is bool(reason)
            assert reason in said


class TestObserved:
    def test_it_asks_ec2_each_time_and_knows_which_enis_are_ours(self, make: Make, doubles: Doubles) -> None:
        instance = make()
        first = {each.eni.id: each for each in instance.observed().attached}
        assert {each.eni.id for each in first.values() if each.eni.usable} == {ENI_1, ENI_2}
        held = first[ENI_1].held
        assert held.primary == ip("10.10.1.10")
        assert held.secondaries == (ip("10.10.1.60"), ip("2001:db8:1::60"))
        instance.unassign(Unassign(ENI_1, (ip("10.10.1.60"),)))
        instance.assign(Assign(ENI_2, (ip("10.10.2.80"),), allow_reassignment=False))
        second = {each.eni.id: each for each in instance.observed().attached}
        assert second[ENI_1].held.secondaries == (ip("2001:db8:1::60"),)
        assert second[ENI_2].held.secondaries == (ip("10.10.2.80"),)
        assert describes(doubles) == 2

    @pytest.mark.parametrize(("code", "transient"), [("RequestLimitExceeded", True), ("AuthFailure", False)])
    def test_no_answer_is_an_error_and_no_empty_node(
        self, make: Make, doubles: Doubles, code: str, transient: bool
    ) -> None:
        instance = make()
        instance.observed()
        doubles.put_faults(Injected("DescribeNetworkInterfaces", error=code))
        with pytest.raises(AgentError, match=code) as caught:
            instance.observed()
        assert caught.value.transient is transient


def test_imds_confirms_what_was_assigned(make: Make) -> None:
    instance = make()
    eni = instance.topology({MAC_1}).enis[1]
    instance.assign(Assign(ENI_1, (ip("10.10.1.80"),), allow_reassignment=True))
    held = frozenset(map(ip, ("10.10.1.10", "10.10.1.60", "10.10.1.80")))
    assert instance.metadata(eni, {4}) == held
    assert instance.describe(ENI_1).holds(ip("10.10.1.80"))
    assert [each.eni_id for each in instance.holders([ip("10.10.1.80")], eni.subnet_id)] == [ENI_1]
