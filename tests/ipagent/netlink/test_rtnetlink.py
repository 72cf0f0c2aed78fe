"""The wire format: bytes recorded from Linux 6.18 in a pod with eth0 as the VPC CNI makes it, and net1."""

import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.addresses import Detection, IPAddress, Link, LinkAddress, Route
from ipagent.netlink import namespace as kernel
from ipagent.netlink import rtnetlink as wire

pytestmark = pytest.mark.pure

RECORDED = Path(__file__).parent / "recorded"
LO, ETH0, NET1 = 1, 2, 3


def recorded(name: str, kind: int) -> list[bytes]:
    datagrams = map(bytes.fromhex, (RECORDED / f"{name}.hex").read_text().split())
    return [body for data in datagrams for found, _, _, body in wire.messages(data) if found == kind]


def test_links_have_index_name_and_mac() -> None:
    lo, eth0, net1 = map(kernel.link, recorded("links", wire.RTM_NEWLINK))
    assert lo == Link(LO, "lo", "00:00:00:00:00:00", loopback=True)
    assert (eth0.index, eth0.name, eth0.loopback) == (ETH0, "eth0", False)
    assert net1 == Link(NET1, "net1", "02:aa:00:00:00:01")


def test_addresses_have_their_interface_and_scope() -> None:
    found = {kernel.address(body) for body in recorded("addresses", wire.RTM_NEWADDR)}
    assert {
        LinkAddress(LO, ip_address("127.0.0.1"), scope=254),
        LinkAddress(ETH0, ip_address("10.10.0.21")),
        LinkAddress(NET1, ip_address("10.10.1.80")),
        LinkAddress(NET1, ip_address("10.10.1.81")),
        LinkAddress(NET1, ip_address("2001:db8:1::80")),
        LinkAddress(LO, ip_address("::1"), scope=254),
    } <= found


def test_routes_of_the_main_table_alone() -> None:
    bodies = recorded("routes", wire.RTM_NEWROUTE)
    found = {route for body in bodies for route in kernel.unicast_routes(body)}
    assert Route(ETH0, ip_network("0.0.0.0/0")) in found
    assert Route(ETH0, ip_network("169.254.1.1/32")) in found
    assert Route(NET1, ip_network("10.10.1.0/24")) in found
    # The local table has one for each own address.
    assert Route(NET1, ip_network("10.10.1.80/32")) not in found
    assert len(found) < len(bodies)


def test_events_tell_what_was_added_and_removed() -> None:
    (added,) = recorded("events", wire.RTM_NEWADDR)
    assert kernel.address(added) == LinkAddress(NET1, ip_address("10.10.1.90"))
    removed = [kernel.address(body) for body in recorded("events", wire.RTM_DELADDR)]
    assert removed == [
        LinkAddress(NET1, ip_address("10.10.1.81")),
        LinkAddress(NET1, ip_address("2001:db8:1::80")),
    ]


def test_the_dump_ends_with_done() -> None:
    datagrams = (RECORDED / "addresses.hex").read_text().split()
    *_, (kind, _, _, body) = wire.messages(bytes.fromhex(datagrams[-1]))
    assert kind == wire.NLMSG_DONE
    assert wire.error_number(body) == 0


def test_a_refusal_gives_its_errno() -> None:
    assert wire.error_number(struct.pack("=i", -1) + bytes(16)) == 1


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


@given(st.ip_addresses(), st.integers(0, 255), st.integers(1, 2**31), st.booleans())
def test_every_address_is_read_as_it_was_written(
    given_address: IPAddress, scope: int, index: int, peer: bool
) -> None:
    family = wire.AF_INET if given_address.version == 4 else wire.AF_INET6
    body = struct.pack("=BBBBI", family, 24, 0, scope, index)
    if peer:
        # A point-to-point interface: IFA_ADDRESS is the other end, IFA_LOCAL the own address.
        body += attribute(1, bytes(len(given_address.packed))) + attribute(2, given_address.packed)
    else:
        body += attribute(1, given_address.packed)
    assert kernel.address(body) == LinkAddress(index, given_address, scope)


@pytest.mark.parametrize(
    ("flags", "detection"),
    [
        (0x00, Detection.DONE),
        (0x80, Detection.DONE),
        (0x40, Detection.TENTATIVE),
        (0xC8, Detection.FAILED),
    ],
    ids=["none", "permanent", "tentative", "tentative, dadfailed and permanent"],
)
@pytest.mark.parametrize("wide", [True, False], ids=["IFA_FLAGS", "header"])
def test_the_flags_tell_how_far_duplicate_address_detection_is(
    flags: int, detection: Detection, wide: bool
) -> None:
    # IFA_FLAGS wins: 0x200 (noprefixroute) and what else does not fit the header.
    body = struct.pack("=BBBBI", wire.AF_INET6, 64, 0 if wide else flags, 0, 3)
    body += attribute(1, ip_address("2001:db8::80").packed)
    if wide:
        body += attribute(8, struct.pack("=I", flags | 0x200))
    assert kernel.address(body) == LinkAddress(3, ip_address("2001:db8::80"), detection=detection)


def test_a_default_route_over_several_next_hops_names_each_interface() -> None:
    hops = b"".join(struct.pack("=HBBi", 16, 0, 0, index) + bytes(8) for index in (4, 7))
    body = struct.pack("=BBBBBBBBI", wire.AF_INET, 0, 0, 0, 254, 0, 0, 1, 0) + attribute(9, hops)
    default = ip_network("0.0.0.0/0")
    assert kernel.unicast_routes(body) == (Route(4, default), Route(7, default))


@pytest.mark.parametrize(
    ("family", "table", "kind"),
    [(wire.AF_INET, 255, 1), (wire.AF_INET, 254, 7), (129, 254, 1)],
    ids=["local table", "unreachable", "another family"],
)
def test_other_routes_are_left_out(family: int, table: int, kind: int) -> None:
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, table, 0, 0, kind, 0) + attribute(
        4, struct.pack("=I", 4)
    )
    assert kernel.unicast_routes(body) == ()


def test_an_address_of_another_family_is_no_address() -> None:
    assert kernel.address(struct.pack("=BBBBI", 28, 0, 0, 0, 1) + attribute(1, b"123456")) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (kernel.link, kernel.address, kernel.unicast_routes, lambda d: list(wire.messages(d))):
        with suppress(wire.MalformedError):
            read(data)


@given(st.sampled_from(["links", "addresses", "routes", "events"]), st.data())
def test_a_damaged_recording_is_read_or_refused(name: str, data: st.DataObject) -> None:
    whole = bytes.fromhex((RECORDED / f"{name}.hex").read_text().split()[0])
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + 1 :]
    with suppress(wire.MalformedError):
        for _, _, _, body in wire.messages(damaged):
            for read in (kernel.link, kernel.address, kernel.unicast_routes):
                with suppress(wire.MalformedError):
                    read(body)


@pytest.mark.parametrize("kind", [wire.RTM_GETLINK, wire.RTM_GETADDR, wire.RTM_GETROUTE])
def test_a_request_is_one_whole_message(kind: int) -> None:
    ((found, flags, sequence, _),) = wire.messages(wire.dump_request(kind, 77))
    assert (found, sequence) == (kind, 77)
    assert flags == wire.NLM_F_REQUEST | wire.NLM_F_DUMP


def a_route(bits: int, *attributes: bytes) -> bytes:
    header = struct.pack("=BBBBBBBBI", wire.AF_INET, bits, 0, 0, 254, 0, 0, 1, 0)
    return header + b"".join(attributes)


@pytest.mark.parametrize(
    ("read", "data", "says"),
    [
        (lambda data: list(wire.messages(data)), b"short", "header is cut off"),
        (lambda data: list(wire.messages(data)), struct.pack("=IHHII", 99, 1, 0, 0, 0), "claims 99"),
        (kernel.link, b"short", "too few"),
        (kernel.link, bytes(16) + struct.pack("=HH", 99, 1), "attribute claims 99"),
        (kernel.address, struct.pack("=BBBBI", 2, 24, 0, 0, 1) + attribute(1, b"12345"), "has 5 bytes"),
        (kernel.unicast_routes, a_route(33), "claims 33 bits"),
        (kernel.unicast_routes, a_route(0, attribute(9, struct.pack("=HBBi", 1, 0, 0, 4))), "hop claims 1"),
        (kernel.unicast_routes, a_route(0, attribute(1, b"123")), "has 3 bytes"),
    ],
)
def test_damage_is_named(read: Callable[[bytes], object], data: bytes, says: str) -> None:
    with pytest.raises(wire.MalformedError, match=says):
        read(data)


def test_the_table_of_a_route_may_be_an_attribute() -> None:
    out = attribute(4, struct.pack("=I", 4))
    assert kernel.unicast_routes(a_route(0, out, attribute(15, struct.pack("=I", 254))))
    assert kernel.unicast_routes(a_route(0, out, attribute(15, struct.pack("=I", 1000)))) == ()


def test_a_body_without_an_error_number_is_no_error() -> None:
    assert wire.error_number(b"") == 0
