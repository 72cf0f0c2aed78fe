"""The model without a server: properties that hold whatever is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import World, load_world
from tests.doubles.auth import authenticate
from tests.doubles.imds import Tree, metadata, read
from tests.doubles.model import AccessKey, Subnet
from tests.doubles.refusals import Ec2Error
from tests.doubles_tests import worlds

pytestmark = pytest.mark.pure

INTERFACES = [worlds.A0, worlds.A1, worlds.A_FULL, worlds.B0, worlds.B1, worlds.B_CROWDED]

addresses = st.builds(
    "10.0.{}.{}".format, st.sampled_from([0, 1, 2, 3]), st.sampled_from([*range(16), 20, 50, 255])
).map(IPv4Address)
several = st.lists(addresses, min_size=1, max_size=4).map(tuple)
interfaces = st.sampled_from(INTERFACES)


@dataclass(frozen=True)
class Assign:
    interface: str
    addresses: tuple[IPv4Address, ...]
    move: bool

    def apply(self, world: World, now: float) -> World:
        return world.assign(self.interface, self.addresses, allow_reassignment=self.move, now=now)

    def check(self, _: World, after: World) -> None:
        assert set(self.addresses) <= set(after.interfaces[self.interface].secondaries)


@dataclass(frozen=True)
class AssignFree:
    interface: str
    count: int

    def apply(self, world: World, now: float) -> World:
        return world.assign_free(self.interface, self.count, now)[0]

    def check(self, before: World, after: World) -> None:
        had = before.interfaces[self.interface].secondaries
        has = after.interfaces[self.interface].secondaries
        assert has[: len(had)] == had
        assert len(has) == len(had) + self.count


@dataclass(frozen=True)
class Unassign:
    interface: str
    addresses: tuple[IPv4Address, ...]

    def apply(self, world: World, now: float) -> World:
        return world.unassign(self.interface, self.addresses, now)

    def check(self, _: World, after: World) -> None:
        assert all(after.holder_of(address) is None for address in self.addresses)


Operation = Assign | AssignFree | Unassign
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Assign, interfaces, several, st.booleans()),
    st.builds(AssignFree, interfaces, st.integers(1, 6)),
    st.builds(Unassign, interfaces, several),
)


def attempt(world: World, operation: Operation, now: float) -> World | None:
    """Give the world after an operation, None if it is refused."""
    try:
        return operation.apply(world, now)
    except Ec2Error:
        return None


@given(st.lists(operations, max_size=30))
def test_whatever_is_asked_the_world_stays_sound(asked: list[Operation]) -> None:
    world = start = load_world(worlds.world(imds_delay_ms=2500))
    for now, operation in enumerate(asked):
        world = attempt(world, operation, float(now)) or world
        _check(start, world)


def _check(start: World, world: World) -> None:
    held = [address for interface in world.interfaces.values() for address in interface.addresses]
    assert len(held) == len(set(held))
    for before, interface in zip(start.interfaces.values(), world.interfaces.values(), strict=True):
        assert interface.primary == before.primary
        assert len(interface.addresses) <= world.instances[interface.instance].ipv4_per_interface
        for address in interface.addresses:
            world.subnets[interface.subnet].admit(address)
            assert world.holder_of(address) == interface
    for subnet in world.subnets.values():
        assert world.free_address_count(subnet) == len(list(world.free_addresses(subnet)))


@given(st.lists(operations, max_size=10))
def test_an_operation_that_is_not_refused_has_its_effect(asked: list[Operation]) -> None:
    world = load_world(worlds.world())
    for operation in asked:
        after = attempt(world, operation, 0.0)
        if after is not None:
            operation.check(world, after)
            world = after


@given(st.lists(st.tuples(operations, st.floats(0, 3)), max_size=12), st.floats(0, 3))
def test_imds_shows_the_addresses_of_a_delay_ago(steps: list[tuple[Operation, float]], later: float) -> None:
    delay = 2.0
    world = load_world(worlds.world(imds_delay_ms=2000))
    now = 0.0
    history = [(float("-inf"), world)]
    for operation, pause in steps:
        now += pause
        world = attempt(world, operation, now) or world
        history.append((now, world))
    now += later

    then = [known for since, known in history if since + delay <= now][-1]
    for identifier, interface in world.interfaces.items():
        assert interface.addresses_in_imds(now) == then.interfaces[identifier].addresses


@pytest.mark.parametrize("prefix", [28, 24, 20])
def test_a_subnet_keeps_five_addresses_for_itself(prefix: int) -> None:
    network = IPv4Network(f"10.0.0.0/{prefix}")
    subnet = Subnet(worlds.POD_SUBNET, worlds.VPC, network, "eu-central-1a")

    kept = set(network) - set(subnet.assignable())

    assert kept == {*list(network)[:4], network[-1]}
    for address in kept:
        with pytest.raises(Ec2Error, match="reserved range"):
            subnet.admit(address)


@pytest.mark.parametrize(
    ("patterns", "action", "allowed"),
    [
        (("*",), "AssignPrivateIpAddresses", True),
        (("Describe*",), "DescribeSubnets", True),
        (("Describe*",), "AssignPrivateIpAddresses", False),
        (("Describe?ubnets",), "DescribeSubnets", True),
        (("DescribeInstances", "DescribeSubnets"), "DescribeSubnets", True),
        ((), "DescribeSubnets", False),
    ],
)
def test_rights_are_patterns_of_actions(patterns: tuple[str, ...], action: str, allowed: bool) -> None:
    assert AccessKey("AKIA", "secret", "arn", actions=patterns).allows(action) is allowed


SIGNED = (
    "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date, Signature=" + "0" * 64
)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "MissingAuthenticationToken"),
        ("", "MissingAuthenticationToken"),
        ("Bearer banana", "AuthFailure"),
        (SIGNED.format(key=worlds.ADMIN, region="eu-central-1", service="s3"), "AuthFailure"),
        (SIGNED.format(key=worlds.ADMIN, region="us-east-1", service="ec2"), "AuthFailure"),
        (SIGNED.format(key="AKIAUNKNOWN", region="eu-central-1", service="ec2"), "AuthFailure"),
        (SIGNED.format(key=worlds.ADMIN, region="eu-central-1", service="ec2")[:-1], "AuthFailure"),
    ],
)
def test_a_header_that_ec2_would_not_accept_is_refused(header: str | None, code: str) -> None:
    with pytest.raises(Ec2Error) as refused:
        authenticate(load_world(worlds.world()), header, None)
    assert refused.value.code == code


def test_a_header_that_ec2_would_accept_names_the_key() -> None:
    header = SIGNED.format(key=worlds.READER, region="eu-central-1", service="ec2")
    world = load_world(worlds.world())

    assert authenticate(world, header, None).id == worlds.READER
    with pytest.raises(Ec2Error, match="AuthFailure"):
        authenticate(world, header, "a token that the key does not have")


def paths_of(tree: Tree) -> dict[str, str]:
    """Give every path that is reached by following the listings, with what is read there."""
    found: dict[str, str] = {}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        content = read(tree, path)
        assert content, path
        found[path.strip("/")] = content
        if not path or path.endswith("/"):
            waiting.extend(f"{path}{name}" for name in content.splitlines())
    return found


def test_every_listed_name_can_be_read() -> None:
    world = load_world(worlds.world())
    found = paths_of(metadata(world, world.instances[worlds.NODE_A], 0.0, 0.0))

    assert found["meta-data/placement/region"] == "eu-central-1"
    assert found[f"meta-data/network/interfaces/macs/{worlds.A1_MAC}/interface-id"] == worlds.A1
    assert found["dynamic/instance-identity/document"]


@given(st.lists(st.sampled_from(["meta-data", "mac", "network", "interfaces", "macs", "placement", "", "x"])))
def test_a_path_reads_only_if_a_listing_leads_to_it(names: list[str]) -> None:
    world = load_world(worlds.world())
    tree = metadata(world, world.instances[worlds.NODE_A], 0.0, 0.0)
    path = "/".join(names)

    assert read(tree, path) == paths_of(tree).get("/".join(filter(None, names)))
