"""World files: what is wrong in one is named with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.doubles import DocumentError, load_world
from tests.doubles.config.credentials import DEFAULT_KEY_ID
from tests.doubles.config.world_file import MAX_FILE_BYTES
from tests.doubles.ec2.iam import Asked
from tests.doubles.state.resources import HttpTokens
from tests.doubles_tests import worlds

pytestmark = pytest.mark.pure

Change = Callable[[dict[str, Any]], object]


def _card(world: dict[str, Any], number: int = 1) -> dict[str, Any]:
    card: dict[str, Any] = world["instances"][0]["interfaces"][number]
    return card


CARD = "world.instances[0].interfaces[1]"

WRONG: list[tuple[str, Change, str]] = [
    ("no region", lambda world: world.pop("region"), "world: the key 'region' is missing"),
    ("an unknown key", lambda world: world.update(colour="blue"), "world: unknown key 'colour'"),
    ("a wrong region", lambda world: world.update(region="Frankfurt"), "world.region: must be a region"),
    ("a number as account", lambda world: world.update(account=123456789012), "world.account: must be text"),
    ("a short account", lambda world: world.update(account="12"), "world.account: must be twelve digits"),
    (
        "a negative delay",
        lambda world: world.update(imds_delay_ms=-1),
        "world.imds_delay_ms: must be a whole",
    ),
    (
        "a flag as delay",
        lambda world: world.update(imds_delay_ms=True),
        "world.imds_delay_ms: must be a whole",
    ),
    ("no list of subnets", lambda world: world.update(subnets={}), "world.subnets: must be a list"),
    (
        "a malformed subnet id",
        lambda world: world["subnets"][0].update(id="subnet-1"),
        "world.subnets[0].id: must be subnet- and 8 or 17 hexadecimal digits",
    ),
    (
        "a malformed VPC id",
        lambda world: world["subnets"][0].update(vpc="default"),
        "world.subnets[0].vpc: must be vpc- and",
    ),
    (
        "a network with host bits",
        lambda world: world["subnets"][0].update(cidr="10.0.0.1/24"),
        "world.subnets[0].cidr: must be an IPv4 network",
    ),
    (
        "a network that is too small",
        lambda world: world["subnets"][0].update(cidr="10.0.0.0/29"),
        "world.subnets[0].cidr: must be a /16 to a /28",
    ),
    (
        "an IPv4 network as IPv6 network",
        lambda world: world["subnets"][0].update(ipv6_cidr="10.0.0.0/24"),
        "world.subnets[0].ipv6_cidr: must be an IPv6 network",
    ),
    (
        "an IPv6 network of a size that EC2 does not have",
        lambda world: world["subnets"][0].update(ipv6_cidr="2001:db8::/62"),
        "world.subnets[0].ipv6_cidr: must be a /44 to a /64 in steps of four, is 2001:db8::/62",
    ),
    (
        "IPv6 ranges that overlap",
        lambda world: world["subnets"][2].update(ipv6_cidr="2001:db8::/44"),
        "world.subnets[2].ipv6_cidr: 2001:db8::/44 overlaps subnet-0a000000000000002 (2001:db8:1::/64)",
    ),
    (
        "subnets that overlap",
        lambda world: world["subnets"][1].update(cidr="10.0.0.128/25"),
        "world.subnets[1].cidr: 10.0.0.128/25 overlaps subnet-0a000000000000001 (10.0.0.0/24)",
    ),
    (
        "a subnet twice",
        lambda world: world["subnets"][1].update(id=worlds.NODE_SUBNET),
        "world.subnets[1]: subnet-0a000000000000001 is there twice",
    ),
    (
        "an owner that is no account",
        lambda world: world["subnets"][0].update(owner="me"),
        "world.subnets[0].owner: must be twelve digits in quotes",
    ),
    (
        "two owners of one VPC",
        lambda world: world["subnets"][1].update(owner="999988887777"),
        "world.subnets[1]: another subnet of vpc-0a000000000000001 has another owner",
    ),
    (
        "tags that are no text",
        lambda world: world["subnets"][0].update(tags={"Name": 1}),
        "world.subnets[0].tags.Name: must be text",
    ),
    (
        "tags that are no mapping",
        lambda world: world["subnets"][0].update(tags=["Name"]),
        "world.subnets[0].tags: must be a mapping from text to text",
    ),
    (
        "an instance type of unknown limit",
        lambda world: world["instances"][0].update(type="x9.huge"),
        "world.instances[0].type: the limit of x9.huge is not known here: state ipv4_per_interface",
    ),
    (
        "a hop limit of nothing",
        lambda world: world["instances"][0].update(hop_limit=0),
        "world.instances[0].hop_limit: must be a whole number from 1 to 64",
    ),
    (
        "tokens that are neither optional nor required",
        lambda world: world["instances"][0].update(http_tokens="maybe"),
        "world.instances[0].http_tokens: must be one of optional, required, is 'maybe'",
    ),
    (
        "an endpoint that YAML took for a flag",
        lambda world: world["instances"][0].update(http_endpoint=False),
        "world.instances[0].http_endpoint: must be one of enabled, disabled, is False",
    ),
    (
        "a source that is no network",
        lambda world: world["instances"][0].update(sources=["here"]),
        "world.instances[0].sources[0]: must be a network",
    ),
    (
        "two instances that share sources",
        lambda world: world["instances"][1].update(sources=["127.0.0.0/8"]),
        "world.instances[1]: its sources or host_addresses overlap those of i-0a000000000000001",
    ),
    (
        "an instance twice",
        lambda world: world["instances"][1].update(id=worlds.NODE_A),
        "world.instances[1]: i-0a000000000000001 is there twice",
    ),
    (
        "an instance without device 0",
        lambda world: world["instances"][0]["interfaces"].pop(0),
        "world.instances[0]: needs an interface with device 0",
    ),
    (
        "an instance in two zones",
        lambda world: world["subnets"][1].update(az="eu-central-1b"),
        "world.instances[0]: its interfaces' subnets lie in several availability zones",
    ),
    (
        "an interface twice",
        lambda world: _card(world).update(id=worlds.A0),
        f"{CARD}: eni-0a000000000000000 is there twice",
    ),
    (
        "a MAC twice",
        lambda world: _card(world).update(mac="02:aa:00:00:00:00"),
        f"{CARD}: eni-0a000000000000000 has the MAC 02:aa:00:00:00:00 already",
    ),
    (
        "a MAC that YAML took for a number",
        lambda world: _card(world).update(mac=1234),
        f"{CARD}.mac: must be text in quotes, is 1234",
    ),
    (
        "a MAC in capitals",
        lambda world: _card(world).update(mac="02:AA:00:00:00:01"),
        f"{CARD}.mac: must be six lower-case",
    ),
    (
        "a device twice",
        lambda world: _card(world).update(device=0),
        f"{CARD}: eni-0a000000000000000 is device 0 of that network card already",
    ),
    (
        "an unknown subnet",
        lambda world: _card(world).update(subnet="subnet-0f000000000000000"),
        f"{CARD}: the subnet subnet-0f000000000000000 is not among",
    ),
    (
        "a primary outside its subnet",
        lambda world: _card(world).update(primary="10.0.9.9"),
        f"{CARD}: Address 10.0.9.9 does not fall within the subnet's address range",
    ),
    (
        "a reserved secondary",
        lambda world: _card(world).update(secondaries=["10.0.1.3"]),
        f"{CARD}: Address 10.0.1.3 is in subnet's reserved range",
    ),
    (
        "an address that is none",
        lambda world: _card(world).update(primary="banana"),
        f"{CARD}.primary: must be an IPv4 address",
    ),
    (
        "an address twice on one interface",
        lambda world: _card(world).update(secondaries=["10.0.1.10"]),
        f"{CARD}: 10.0.1.10 is there twice",
    ),
    (
        "an address on two interfaces",
        lambda world: _card(world).update(secondaries=["10.0.1.50"]),
        "world.instances[1].interfaces[1]: 10.0.1.50 belongs to eni-0a000000000000001 already",
    ),
    (
        "more addresses than the type allows",
        lambda world: _card(world).update(secondaries=[f"10.0.1.{last}" for last in range(100, 106)]),
        f"{CARD}: t3.medium allows 6 addresses on one interface",
    ),
    (
        "more IPv6 addresses than the type allows",
        lambda world: _card(world).update(ipv6s=[f"2001:db8:1::{last}" for last in range(100, 107)]),
        f"{CARD}: t3.medium allows 6 IPv6 addresses on one interface",
    ),
    (
        "an IPv6 address in a subnet without a range",
        lambda world: _card(world, 0).update(ipv6s=["2001:db8:1::100"]),
        "world.instances[0].interfaces[0]: The subnet 'subnet-0a000000000000001' has no IPv6 CIDR block",
    ),
    (
        "an IPv6 address on two interfaces",
        lambda world: _card(world).update(ipv6s=["2001:db8:1:0::50"]),
        "world.instances[1].interfaces[1]: 2001:db8:1::50 belongs to eni-0a000000000000001 already",
    ),
    (
        "a prefix of another size",
        lambda world: _card(world).update(ipv4_prefixes=["10.0.1.64/27"]),
        f"{CARD}: 10.0.1.64/27 must be a /28 (IPv4) or a /80 (IPv6)",
    ),
    (
        "a prefix outside its subnet",
        lambda world: _card(world).update(ipv6_prefixes=["2001:db8:2::/80"]),
        f"{CARD}: Address 2001:db8:2:: does not fall within the subnet's address range",
    ),
    (
        "prefixes among the limit",
        lambda world: _card(world).update(ipv4_prefixes=[f"10.0.1.{n}/28" for n in range(64, 160, 16)]),
        f"{CARD}: t3.medium allows 6 addresses on one interface",
    ),
    (
        "an address in another's prefix",
        lambda world: _card(world).update(ipv4_prefixes=["10.0.1.48/28"]),
        "world.instances[1].interfaces[1]: 10.0.1.50 belongs to eni-0a000000000000001 already",
    ),
    (
        "an unattached interface with a device",
        lambda world: world.update(
            interfaces=[worlds.interface(worlds.GONE, "02:cc:00:00:00:00", 1, "x", "x")]
        ),
        "world.interfaces[0]: unknown key 'device'",
    ),
    (
        "an unattached interface with another's address",
        lambda world: world.update(interfaces=[worlds.spare(primary="10.0.1.50")]),
        "world.interfaces[0]: 10.0.1.50 belongs to eni-0b000000000000001 already",
    ),
    (
        "a key twice",
        lambda world: world["access_keys"].append(world["access_keys"][0]),
        "world.access_keys[3]: AKIAIOSFODNN7EXAMPLE is there twice",
    ),
    (
        "an action with prefix",
        lambda world: world["access_keys"][2].update(actions=["ec2:Describe*"]),
        "world.access_keys[2].actions[0]: must be an EC2 action without prefix",
    ),
    (
        "a role that the world does not have",
        lambda world: world.update(roles=[]),
        "world.instances: the role node of i-0a000000000000001 is not among the world's roles",
    ),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_named_with_its_place(change: Change, message: str) -> None:
    world = worlds.world()
    change(world)

    with pytest.raises(DocumentError) as refused:
        load_world(world)

    assert str(refused.value).startswith(message)


def test_a_file_reads_as_its_content(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(yaml.safe_dump(worlds.world()), encoding="utf-8")

    assert load_world(file) == load_world(str(file)) == load_world(worlds.world())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "is no YAML"),
        (b"\xff\xfe\xff", "is no YAML"),
        (b"", "must be a mapping, is None"),
        (b"- 1", "must be a mapping"),
        (b" " * (MAX_FILE_BYTES + 1), "is larger than"),
    ],
)
def test_a_file_that_is_not_a_world_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_bytes(content)

    with pytest.raises(DocumentError, match=message) as refused:
        load_world(file)

    assert str(file) in str(refused.value)


def test_defaults_are_those_of_ec2() -> None:
    minimal = worlds.world()
    del minimal["access_keys"], minimal["roles"]
    for key in ("hop_limit", "http_tokens", "host_addresses", "tags"):
        del minimal["instances"][0][key]

    world = load_world(minimal)

    instance = world.instances[worlds.NODE_A]
    assert (instance.hop_limit, instance.http_tokens, instance.http_endpoint) == (
        1,
        HttpTokens.REQUIRED,
        True,
    )
    assert instance.limits.ipv4_per_interface == 6
    assert world.imds_delay == 0
    assert list(world.access_keys) == [DEFAULT_KEY_ID]
    assert world.access_keys[DEFAULT_KEY_ID].allows(Asked("AssignPrivateIpAddresses", "*"))
    assert world.role_keys[worlds.NODE_A].allows(Asked("AssignPrivateIpAddresses", "*"))
    assert world.role_keys[worlds.NODE_A].token


def test_a_single_instance_may_be_asked_from_everywhere() -> None:
    world = load_world(worlds.world(instances=[worlds.node_b(sources=["0.0.0.0/0"])]))

    instance = world.instances[worlds.NODE_B]
    assert instance.reached_from(next(iter(instance.sources))[7])


def test_the_limit_of_an_unknown_type_may_be_stated() -> None:
    node = worlds.node_b(type="x9.huge", ipv4_per_interface=7)

    assert load_world(worlds.world(instances=[node])).instances[worlds.NODE_B].limits.ipv4_per_interface == 7


def test_the_example_at_the_top_of_the_module_is_a_world() -> None:
    import tests.doubles.config.world_file as module  # noqa: PLC0415 - its docstring is what is read

    example = (module.__doc__ or "").split("```")[1].removeprefix("yaml\n")
    world = load_world(yaml.safe_load(example))

    node, spare = world.interfaces.values()
    assert [str(prefix) for prefix in (*node.ipv4_prefixes, *node.ipv6_prefixes)] == [
        "10.0.1.32/28",
        "2001:db8:1:0:1::/80",
    ]
    assert (node.instance, spare.instance) == ("i-0a000000000000001", None)
