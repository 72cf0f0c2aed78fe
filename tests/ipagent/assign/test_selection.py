"""Which addresses count."""

from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.addresses import (
    Detection,
    Holding,
    IPAddress,
    Link,
    LinkAddress,
    Route,
    Snapshot,
    canonical_mac,
    is_global_unicast,
    parse_networks,
)
from ipagent.assign.selection import Selection, UndecidedDefaultError, select

pytestmark = pytest.mark.pure

LO = Link(1, "lo", "00:00:00:00:00:00", loopback=True)
ETH0 = Link(3, "eth0", "0a:00:00:00:00:03")
NET1 = Link(4, "net1", "02:aa:00:00:00:01")
NET2 = Link(5, "net2", "02:aa:00:00:00:02")
DEFAULT = ip_network("0.0.0.0/0")


def snapshot(
    *held: tuple[Link, str], links: tuple[Link, ...] = (LO, ETH0, NET1, NET2), routes: tuple[Route, ...] = ()
) -> Snapshot:
    return Snapshot(links, tuple(LinkAddress(link.index, ip_address(a)) for link, a in held), routes)


def texts(selection: Selection) -> list[str]:
    return [f"{holding.interface} {holding.address}" for holding in selection.holdings]


def test_the_named_interfaces_count_and_no_others() -> None:
    held = snapshot((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), (NET2, "10.10.2.80"))
    assert texts(select(held, ("net2",), ())) == ["net2 10.10.2.80"]


def test_a_holding_carries_its_interface_and_mac() -> None:
    selection = select(snapshot((NET1, "10.10.1.80")), ("net1",), ())
    assert selection.holdings == (Holding("net1", "02:aa:00:00:00:01", IPv4Address("10.10.1.80")),)


def test_interfaces_without_addresses_are_legal_and_said() -> None:
    selection = select(snapshot((NET1, "10.10.1.80")), ("net1", "net2"), ())
    assert selection.bare == ("net2",)
    assert selection.missing == ()


def test_a_named_interface_that_is_not_there_is_missing() -> None:
    assert select(snapshot(), ("net1", "net9", "net9"), ()).missing == ("net9",)


def test_several_addresses_of_an_interface_count_once_each_in_order() -> None:
    held = snapshot((NET1, "10.10.1.90"), (NET1, "10.10.1.9"), (NET1, "10.10.1.90"))
    assert texts(select(held, ("net1",), ())) == ["net1 10.10.1.9", "net1 10.10.1.90"]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.7.7", "224.0.0.5", "0.0.0.0", "::1", "fe80::1", "ff02::1", "::"],
)
def test_addresses_that_name_no_host_beyond_the_link_do_not_count(address: str) -> None:
    selection = select(snapshot((NET1, address)), ("net1",), ())
    assert selection.holdings == ()
    assert selection.refused == ()
    assert selection.bare == ("net1",)


def test_the_kernels_scope_decides_too() -> None:
    link_scope = LinkAddress(NET1.index, ip_address("10.10.1.80"), scope=253)
    assert select(Snapshot((NET1,), (link_scope,)), ("net1",), ()).bare == ("net1",)


def test_the_loopback_interface_never_counts_whatever_it_holds() -> None:
    assert select(snapshot((LO, "10.10.1.80")), ("lo",), ()).holdings == ()


def test_addresses_outside_the_allowed_cidrs_are_refused_by_name() -> None:
    held = snapshot((NET1, "10.10.1.80"), (NET1, "192.168.0.1"))
    selection = select(held, ("net1",), parse_networks(["10.10.0.0/16", "10.11.0.0/16"]))
    assert texts(selection) == ["net1 10.10.1.80"]
    (refusal,) = selection.refused
    assert str(refusal.holding.address) == "192.168.0.1"
    assert "10.10.0.0/16, 10.11.0.0/16" in refusal.reason


def test_ipv6_addresses_count_like_ipv4_addresses_unless_they_are_link_local() -> None:
    held = snapshot((NET1, "2001:db8::80"), (NET1, "10.10.1.80"), (NET1, "fe80::1"), (NET2, "fe80::2"))
    selection = select(held, ("net1", "net2"), ())
    assert texts(selection) == ["net1 10.10.1.80", "net1 2001:db8::80"]
    assert selection.bare == ("net2",)


def test_allowed_cidrs_hold_for_both_families() -> None:
    held = snapshot((NET1, "2001:db8::80"), (NET1, "2001:db9::80"), (NET1, "10.10.1.80"))
    selection = select(held, ("net1",), parse_networks(["2001:db8::/32"]))
    assert texts(selection) == ["net1 2001:db8::80"]
    assert {str(refusal.holding.address) for refusal in selection.refused} == {"2001:db9::80", "10.10.1.80"}


@pytest.mark.parametrize(
    ("detection", "counts", "tentative"),
    [(Detection.DONE, True, False), (Detection.TENTATIVE, True, True), (Detection.FAILED, False, False)],
)
def test_duplicate_address_detection_decides_too(detection: Detection, counts: bool, tentative: bool) -> None:
    entry = LinkAddress(NET1.index, ip_address("2001:db8::80"), detection=detection)
    selection = select(Snapshot((NET1,), (entry,)), ("net1",), ())
    assert bool(selection.holdings) is counts
    assert bool(selection.tentative) is tentative
    assert [refusal.reason.count("dadfailed") for refusal in selection.refused] == ([] if counts else [1])
    assert selection.bare == ()


VRRP = Link(9, "vrrp.51", "00:00:5e:00:01:33", local=True, lower=NET1.index)
TUN0 = Link(10, "tun0", "", local=True)
HOP = Route(ETH0.index, ip_network("169.254.1.1/32"))


class TestExpectedNames:
    """The webhook has read them from the networks annotation: what is there decides."""

    def test_an_interface_that_multus_has_named_otherwise_counts(self) -> None:
        held = snapshot((ETH0, "10.10.0.21"), (NET2, "10.10.2.80"), links=(LO, ETH0, NET2))
        selection = select(held, ("net1",), (), ("net1",))
        assert texts(selection) == ["net2 10.10.2.80"]
        assert selection.missing == ()

    def test_more_interfaces_than_are_expected_all_count(self) -> None:
        held = snapshot((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), (NET2, "10.10.2.80"))
        assert texts(select(held, ("net1",), (), ("net1",))) == ["net1 10.10.1.80", "net2 10.10.2.80"]

    def test_fewer_interfaces_than_are_expected_are_missing(self) -> None:
        held = snapshot((NET2, "10.10.2.80"), links=(LO, ETH0, NET2))
        assert select(held, ("net1", "net2", "net3"), (), ("net1", "net2", "net3")).missing == (
            "net1",
            "net3",
        )
        assert select(held, ("net1", "net3"), (), ("net1", "net3")).missing == ("net3",)
        assert select(held, ("net1", "data0"), (), ("net1",)).missing == ("data0",)

    @pytest.mark.parametrize("name", ["v6if0", "v4if0", "mNicIf1"])
    def test_what_the_vpc_cni_adds_never_counts(self, name: str) -> None:
        extra = Link(8, name, "0a:00:00:00:00:08")
        held = snapshot((NET1, "10.10.1.80"), (extra, "fd00::ac:5"), links=(LO, ETH0, NET1, extra))
        assert texts(select(held, ("net1",), (), ("net1",))) == ["net1 10.10.1.80"]
        assert texts(select(held, (), ())) == ["net1 10.10.1.80"]

    def test_a_device_that_the_pod_has_made_does_not_count(self) -> None:
        held = snapshot((NET1, "10.10.1.80"), (TUN0, "10.45.0.1"), links=(LO, ETH0, NET1, TUN0))
        assert texts(select(held, ("net1",), (), ("net1",))) == ["net1 10.10.1.80"]

    def test_a_device_that_a_plugin_has_made_in_the_pod_counts_by_its_name(self) -> None:
        tap = Link(8, "net2", "0a:00:00:00:00:08", local=True)
        held = snapshot((tap, "10.10.1.80"), links=(LO, ETH0, tap))
        assert texts(select(held, ("net1",), (), ("net1",))) == ["net2 10.10.1.80"]

    def test_where_nothing_tells_the_default_interface_the_names_decide_if_they_are_there(self) -> None:
        primary = Link(2, "ens5", "0a:00:00:00:00:02")
        held = snapshot((primary, "10.10.0.21"), (NET1, "10.10.1.80"), links=(primary, NET1))
        assert texts(select(held, ("net1",), (), ("net1",))) == ["net1 10.10.1.80"]
        with pytest.raises(UndecidedDefaultError):
            select(held, ("net2",), (), ("net2",))

    def test_the_default_interface_by_its_next_hop(self) -> None:
        primary = Link(3, "primary", "0a:00:00:00:00:03")
        held = snapshot((primary, "10.10.0.21"), (NET2, "10.10.2.80"), links=(primary, NET2), routes=(HOP,))
        assert texts(select(held, ("net1",), (), ("net1",))) == ["net2 10.10.2.80"]


@pytest.mark.parametrize(("named", "expected"), [(("net1",), ()), (("net1",), ("net1",)), ((), ())])
def test_an_address_on_a_device_above_an_interface_is_that_interfaces(
    named: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    held = snapshot((NET1, "10.10.1.80"), (VRRP, "10.10.1.90"), links=(LO, ETH0, NET1, VRRP))
    assert select(held, named, (), expected).holdings == (
        Holding("net1", NET1.mac, ip_address("10.10.1.80")),
        Holding("vrrp.51", NET1.mac, ip_address("10.10.1.90")),
    )


def test_an_address_on_a_device_above_the_default_interface_does_not_count() -> None:
    above = Link(9, "vrrp.7", "00:00:5e:00:01:07", local=True, lower=ETH0.index)
    held = snapshot((ETH0, "10.10.0.21"), (above, "10.10.0.90"), links=(LO, ETH0, NET1, above))
    assert select(held, ("net1",), ()).holdings == ()
    assert select(held, (), ()).holdings == ()
    assert select(held, ("net1",), (), ("net1",)).holdings == ()


def test_devices_that_are_said_to_be_above_each_other_are_no_endless_loop() -> None:
    one, other = Link(8, "a", "", local=True, lower=9), Link(9, "b", "", local=True, lower=8)
    held = snapshot((one, "10.10.1.80"), links=(one, other))
    assert [str(h.address) for h in select(held, ("a",), ()).holdings] == ["10.10.1.80"]


class TestWithoutNames:
    """The webhook could not know the interfaces: all but the pod's default one."""

    def test_eth0_is_left_out_even_if_a_multus_network_has_the_default_route(self) -> None:
        routes = (Route(NET1.index, DEFAULT),)
        held = snapshot((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), routes=routes)
        assert texts(select(held, (), ())) == ["net1 10.10.1.80"]

    def test_the_interface_with_the_vpc_cnis_next_hop_is_left_out_whatever_its_name(self) -> None:
        primary = Link(9, "primary", "0a:00:00:00:00:09")
        routes = (Route(9, ip_network("169.254.1.1/32")), Route(NET1.index, DEFAULT))
        held = snapshot((primary, "10.10.0.21"), (NET1, "10.10.1.80"), links=(NET1, primary), routes=routes)
        assert texts(select(held, (), ())) == ["net1 10.10.1.80"]

    def test_the_default_interface_falls_back_to_the_oldest_with_the_only_default_route(self) -> None:
        primary = Link(2, "ens5", "0a:00:00:00:00:02")
        held = snapshot(
            (primary, "10.10.0.21"),
            (NET1, "10.10.1.80"),
            links=(LO, primary, NET1),
            routes=(Route(2, DEFAULT), Route(NET1.index, ip_network("10.10.1.0/24"))),
        )
        assert texts(select(held, (), ())) == ["net1 10.10.1.80"]

    @pytest.mark.parametrize(
        "routes",
        [(), (Route(NET1.index, DEFAULT),), (Route(2, DEFAULT), Route(NET1.index, DEFAULT))],
        ids=["no default route", "on a younger interface", "two default routes"],
    )
    def test_an_undecided_default_interface_is_an_error(self, routes: tuple[Route, ...]) -> None:
        primary = Link(2, "ens5", "0a:00:00:00:00:02")
        held = snapshot((primary, "10.10.0.21"), (NET1, "10.10.1.80"), links=(primary, NET1), routes=routes)
        with pytest.raises(UndecidedDefaultError):
            select(held, (), ())

    def test_a_pod_without_addresses_has_nothing_to_tell(self) -> None:
        assert select(snapshot(), (), ()) == Selection()


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
entries = st.lists(st.tuples(st.sampled_from([LO, ETH0, NET1, NET2]), addresses), max_size=8)
networks = st.lists(st.sampled_from(["10.0.0.0/8", "0.0.0.0/1", "128.0.0.0/2", "2000::/3"]), max_size=2)


@given(entries, st.sampled_from([(), ("net1",), ("net1", "net2"), ("net3",)]), networks)
def test_no_address_of_a_counting_interface_is_lost(
    held: list[tuple[Link, IPAddress]], named: tuple[str, ...], allowed: list[str]
) -> None:
    state = Snapshot((LO, ETH0, NET1, NET2), tuple(LinkAddress(link.index, a) for link, a in held))
    selection = select(state, named, parse_networks(allowed))
    counting = set(named) or {"net1", "net2"}
    expected = {
        (link.name, address) for link, address in held if link.name in counting and is_global_unicast(address)
    }
    chosen = {(h.interface, h.address) for h in selection.holdings}
    refused = {(r.holding.interface, r.holding.address) for r in selection.refused}
    assert chosen | refused == expected
    assert not chosen & refused
    assert selection.tentative == frozenset()


nested = st.lists(
    st.tuples(st.integers(0, 63), st.integers(26, 32)).map(
        lambda each: ip_network((each[0], each[1]), strict=False)
    ),
    max_size=6,
)


@given(nested, st.lists(st.integers(1, 80), max_size=6))
def test_what_lies_in_none_of_the_allowed_networks_is_refused(allowed: list[Any], held: list[int]) -> None:
    base = 0x0A000000
    networks = [ip_network((base + int(each.network_address), each.prefixlen)) for each in allowed]
    entries = tuple(LinkAddress(NET1.index, ip_address(base + number)) for number in held)
    selection = select(Snapshot((LO, ETH0, NET1), entries), ("net1",), networks)
    inside = {each.address for each in entries if not networks or any(each.address in n for n in networks)}
    assert {holding.address for holding in selection.holdings} == inside
    assert {each.holding.address for each in selection.refused} == {e.address for e in entries} - inside


def test_macs_are_compared_as_the_kernel_writes_them() -> None:
    assert canonical_mac(" 02-AA-00-00-00-0F ") == "02:aa:00:00:00:0f"


def test_cidrs_may_be_written_with_host_bits() -> None:
    assert parse_networks(["10.1.2.3/8"]) == (ip_network("10.0.0.0/8"),)


def test_a_malformed_cidr_is_named() -> None:
    with pytest.raises(ValueError, match="banana"):
        parse_networks(["10.0.0.0/8", "banana"])
