"""The model without a server: properties that hold whatever is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import World, load_world
from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.ec2.signature import authenticate
from tests.doubles.imds.metadata import Tree, metadata, read
from tests.doubles.state.addresses import assign, assign_free, assign_ipv6, unassign, unassign_ipv6
from tests.doubles.state.model import PAST_CHANGES
from tests.doubles.state.network_interfaces import Creation, Slot, attach, create, delete, detach, settle
from tests.doubles.state.resources import Address, NetworkInterface, Subnet
from tests.doubles_tests import worlds

pytestmark = pytest.mark.pure

INTERFACES = [worlds.A0, worlds.A1, worlds.A_FULL, worlds.B0, worlds.B1, worlds.B_CROWDED]

addresses = st.builds(
    "10.0.{}.{}".format, st.sampled_from([0, 1, 2, 3]), st.sampled_from([*range(16), 20, 50, 255])
).map(IPv4Address)
several = st.lists(addresses, min_size=1, max_size=4).map(tuple)
several_ipv6 = st.lists(
    st.builds("2001:db8:{}::{:x}".format, st.sampled_from([1, 3]), st.integers(0, 12)).map(IPv6Address),
    min_size=1,
    max_size=4,
).map(tuple)
interfaces = st.sampled_from(INTERFACES)


@dataclass(frozen=True)
class Assign:
    interface: str
    addresses: tuple[IPv4Address, ...]
    move: bool

    def apply(self, world: World, now: float) -> World:
        return assign(world, self.interface, self.addresses, allow_reassignment=self.move, now=now)

    def check(self, _: World, after: World) -> None:
        assert set(self.addresses) <= set(after.interfaces[self.interface].secondaries)


@dataclass(frozen=True)
class AssignFree:
    interface: str
    count: int

    def apply(self, world: World, now: float) -> World:
        return assign_free(world, self.interface, self.count, now)[0]

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
        return unassign(world, self.interface, self.addresses, now)

    def check(self, _: World, after: World) -> None:
        assert all(after.holder_of(address) is None for address in self.addresses)


@dataclass(frozen=True)
class AssignIpv6:
    interface: str
    addresses: tuple[IPv6Address, ...]

    def apply(self, world: World, now: float) -> World:
        return assign_ipv6(world, self.interface, self.addresses, now)[0]

    def check(self, before: World, after: World) -> None:
        assert set(self.addresses) <= set(after.interfaces[self.interface].ipv6s)
        for identifier, interface in before.interfaces.items():
            assert set(interface.ipv6s) <= set(after.interfaces[identifier].ipv6s), "nothing is moved"


@dataclass(frozen=True)
class UnassignIpv6:
    interface: str
    addresses: tuple[IPv6Address, ...]

    def apply(self, world: World, now: float) -> World:
        return unassign_ipv6(world, self.interface, self.addresses, now)

    def check(self, _: World, after: World) -> None:
        assert all(after.holder_of(address) is None for address in self.addresses)


@dataclass(frozen=True)
class Attach:
    interface: str
    instance: str
    device: int

    def apply(self, world: World, now: float) -> World:
        return attach(world, self.interface, Slot(self.instance, self.device), now)[0]

    def check(self, _: World, after: World) -> None:
        assert after.interfaces[self.interface] in after.interfaces_of(self.instance)


@dataclass(frozen=True)
class Detach:
    interface: str

    def apply(self, world: World, now: float) -> World:
        attachment = world.interface(self.interface).attachment
        return detach(world, attachment.id if attachment else "eni-attach-0f000000000000000", now)

    def check(self, _: World, after: World) -> None:
        assert after.interfaces[self.interface].attachment is None


@dataclass(frozen=True)
class Create:
    subnet: str
    count: int

    def apply(self, world: World, now: float) -> World:
        return create(world, Creation(self.subnet, count=self.count), now)[0]

    def check(self, before: World, after: World) -> None:
        (made,) = set(after.interfaces) - set(before.interfaces)
        assert len(after.interfaces[made].secondaries) == self.count


@dataclass(frozen=True)
class Delete:
    interface: str

    def apply(self, world: World, now: float) -> World:
        return delete(world, self.interface, now)

    def check(self, _: World, after: World) -> None:
        assert self.interface not in after.interfaces


Operation = Assign | AssignFree | Unassign | AssignIpv6 | UnassignIpv6 | Attach | Detach | Create | Delete
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Assign, interfaces, several, st.booleans()),
    st.builds(AssignFree, interfaces, st.integers(1, 6)),
    st.builds(Unassign, interfaces, several),
    st.builds(AssignIpv6, interfaces, several_ipv6),
    st.builds(UnassignIpv6, interfaces, several_ipv6),
    st.builds(Attach, interfaces, st.sampled_from([worlds.NODE_A, worlds.NODE_B]), st.integers(0, 3)),
    st.builds(Detach, interfaces),
    st.builds(Create, st.sampled_from([worlds.POD_SUBNET, worlds.CROWDED_SUBNET]), st.integers(0, 2)),
    st.builds(Delete, interfaces),
)


def attempt(world: World, operation: Operation, now: float) -> World | None:
    """Return the world after an operation, None if it is refused."""
    try:
        return operation.apply(world, now)
    except Ec2Error:
        return None


@given(st.lists(operations, max_size=30))
def test_whatever_is_asked_the_world_stays_sound(asked: list[Operation]) -> None:
    world = start = load_world(worlds.world(imds_delay_ms=2500, attach_delay_ms=1500))
    for now, operation in enumerate(asked):
        world = settle(world, float(now))
        world = attempt(world, operation, float(now)) or world
        _check(start, world)


def held_by(interface: NetworkInterface) -> list[Address]:
    return [*interface.addresses, *interface.ipv6s]


def _check(start: World, world: World) -> None:
    held = [address for interface in world.interfaces.values() for address in held_by(interface)]
    assert len(held) == len(set(held))
    for identifier, interface in world.interfaces.items():
        assert interface.primary == start.interfaces.get(identifier, interface).primary
        for address in held_by(interface):
            world.subnets[interface.subnet].admit(address)
            assert world.holder_of(address) == interface
    for instance in world.instances.values():
        mine = world.interfaces_of(instance.id)
        assert mine[0] == world.interfaces[start.interfaces_of(instance.id)[0].id]
        assert len(mine) <= instance.limits.max_interfaces
        assert len({card.attachment.slot for card in mine if card.attachment}) == len(mine)
        for interface in mine:
            assert len(interface.addresses) <= instance.limits.ipv4_per_interface
            assert len(interface.ipv6s) <= instance.limits.ipv6_per_interface
    for subnet in world.subnets.values():
        assert world.free_address_count(subnet) == len(list(world.free_addresses(subnet)))


def test_past_states_are_kept_for_the_delay_and_no_longer() -> None:
    address = (IPv4Address("10.0.1.100"),)
    worlds_by_delay = {}
    for delay in (0, 3_600_000):
        world = load_world(worlds.world(imds_delay_ms=delay))
        for now in range(0, 2 * PAST_CHANGES, 2):
            world = assign(world, worlds.A1, address, allow_reassignment=False, now=float(now))
            world = unassign(world, worlds.A1, address, float(now + 1))
        worlds_by_delay[delay] = world

    assert len(worlds_by_delay[0].past) <= PAST_CHANGES + 1
    assert len(worlds_by_delay[3_600_000].past) == 2 * PAST_CHANGES


@given(st.lists(operations, max_size=10))
def test_an_operation_that_is_not_refused_has_its_effect(asked: list[Operation]) -> None:
    world = load_world(worlds.world())
    for operation in asked:
        after = attempt(world, operation, 0.0)
        if after is not None:
            operation.check(world, after)
            world = after


@given(
    st.lists(st.tuples(operations, st.floats(0, 3)), max_size=12),
    st.floats(0, 3),
    st.sampled_from([0.0, 1.5]),
)
def test_imds_shows_the_interfaces_of_a_delay_ago(
    steps: list[tuple[Operation, float]], later: float, older: float
) -> None:
    delay = 2.0 + older
    world = load_world(worlds.world(imds_delay_ms=2000))
    now = 0.0
    history = [(float("-inf"), world)]
    for operation, pause in steps:
        now += pause
        world = attempt(world, operation, now) or world
        history.append((now, world))
    now += later

    then = [known for since, known in history if since + delay <= now][-1]
    assert world.in_imds(now, older).interfaces == then.interfaces


@pytest.mark.parametrize("prefix", [28, 24, 20])
def test_a_subnet_keeps_five_addresses_for_itself(prefix: int) -> None:
    network = IPv4Network(f"10.0.0.0/{prefix}")
    subnet = Subnet(worlds.POD_SUBNET, worlds.VPC, network, "eu-central-1a")

    kept = set(network) - set(subnet.assignable())

    assert kept == {*list(network)[:4], network[-1]}
    for address in kept:
        with pytest.raises(Ec2Error, match="reserved range"):
            subnet.admit(address)


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
    """Return every path that is reached by following the listings, with what is read there."""
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
    found = paths_of(metadata(world, world.instances[worlds.NODE_A], 0.0))

    assert found["meta-data/placement/region"] == "eu-central-1"
    assert found[f"meta-data/network/interfaces/macs/{worlds.A1_MAC}/interface-id"] == worlds.A1
    assert found["dynamic/instance-identity/document"]


@given(st.lists(st.sampled_from(["meta-data", "mac", "network", "interfaces", "macs", "placement", "", "x"])))
def test_a_path_reads_only_if_a_listing_leads_to_it(names: list[str]) -> None:
    world = load_world(worlds.world())
    tree = metadata(world, world.instances[worlds.NODE_A], 0.0)
    path = "/".join(names)

    assert read(tree, path) == paths_of(tree).get("/".join(filter(None, names)))
