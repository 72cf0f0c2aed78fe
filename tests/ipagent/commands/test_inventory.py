"""What the commands say of a pod's addresses: the verdict on each, its ENI, and where it is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.addresses import Detection, Link, LinkAddress, Route, Snapshot
from ipagent.assign.selection import UndecidedDefaultError, select
from ipagent.assign.topology import EniDetails, Topology
from ipagent.commands.enis import EniView
from ipagent.commands.inventory import BY_MAC, BY_SUBNET, Held, inventory, locate, targets
from tests.ipagent.fakes import ENI_0, ENI_1, ENI_2, ETH0, NET1, NET2, ip

pytestmark = pytest.mark.pure

LO = Link(1, "lo", "00:00:00:00:00:00", loopback=True)
PRIMARY = Link(2, "primary", "0a:00:00:00:00:02")
MACVLAN = Link(5, "net3", "5e:00:00:00:00:99")
TWIN = replace(ENI_1, id="eni-3", mac="02:aa:00:00:00:03", device_number=3)
NODE = Topology((ENI_0, ENI_1, ENI_2, TWIN))


def snapshot(*held: tuple[Link, str], routes: tuple[Route, ...] = ()) -> Snapshot:
    links = tuple({link.index: link for link, _ in held}.values())
    return Snapshot(links, tuple(LinkAddress(link.index, ip(text)) for link, text in held), routes)


def verdicts(seen: Snapshot, *named: str, allowed: tuple[str, ...] = ()) -> dict[str, str]:
    found = inventory(seen, named, tuple(map(ip_network, allowed)))
    return {str(one.holding.address): one.why for one in found.held}


@pytest.mark.parametrize(
    ("seen", "named", "says"),
    [
        (snapshot((NET1, "10.10.1.80")), ("net1",), ""),
        (snapshot((NET1, "fe80::1")), ("net1",), "link-local"),
        (snapshot((NET1, "169.254.7.7")), ("net1",), "link-local"),
        (snapshot((NET1, "239.0.0.1")), ("net1",), "multicast"),
        (snapshot((NET1, "0.0.0.0")), ("net1",), "unspecified"),
        (snapshot((LO, "10.10.1.80")), ("net1",), "lo is the loopback interface"),
        (snapshot((NET2, "10.10.2.80")), ("net1",), "net2 is not among the interfaces that count (net1)"),
        (snapshot((ETH0, "10.10.0.21")), (), "default interface: it is named eth0"),
        (
            snapshot((PRIMARY, "10.10.0.21"), routes=(Route(2, ip_network("169.254.1.1/32")),)),
            (),
            "next hop 169.254.1.1",
        ),
        (
            snapshot((PRIMARY, "10.10.0.21"), routes=(Route(2, ip_network("0.0.0.0/0")),)),
            (),
            "the only default route",
        ),
    ],
)
def test_each_address_that_does_not_count_has_its_reason(
    seen: Snapshot, named: tuple[str, ...], says: str
) -> None:
    (why,) = verdicts(seen, *named).values()
    assert says in why
    assert bool(why) is bool(says)


def test_a_scope_below_global_is_named() -> None:
    seen = Snapshot((NET1,), (LinkAddress(3, ip("10.10.1.80"), scope=254),))
    assert verdicts(seen, "net1") == {"10.10.1.80": "its scope is host, not global"}


def test_what_the_allowed_cidrs_refuse_says_so() -> None:
    found = verdicts(snapshot((NET1, "10.10.1.80")), "net1", allowed=("10.10.2.0/24",))
    assert "outside the allowed CIDRs 10.10.2.0/24" in found["10.10.1.80"]


def test_the_loopback_network_is_left_out() -> None:
    assert verdicts(snapshot((LO, "127.0.0.1"), (LO, "::1"), (NET1, "10.10.1.80")), "net1") == {
        "10.10.1.80": ""
    }


def test_a_tentative_address_counts_and_is_marked() -> None:
    seen = Snapshot((NET1,), (LinkAddress(3, ip("2001:db8::1"), detection=Detection.TENTATIVE),))
    (held,) = inventory(seen, ("net1",), ()).held
    assert held.counts
    assert held.tentative


def test_without_a_default_interface_nothing_counts_and_the_remedy_is_named() -> None:
    seen = snapshot((NET1, "10.10.1.80"), (NET2, "10.10.2.80"))
    found = inventory(seen, (), ())
    assert found.undecided
    assert all("multus-eni.io/interfaces" in held.why for held in found.held)


@pytest.mark.parametrize(
    ("link", "says"),
    [
        (Link(9, "v6if0", "0a:00:00:00:00:09"), "v6if0 belongs to the VPC CNI"),
        (Link(9, "tun0", "", local=True), "tun0 was created in the pod, and not by Multus"),
        (ETH0, "default interface: it is named eth0"),
        (Link(9, "data0", "0a:00:00:00:00:09"), ""),
    ],
)
def test_with_counted_names_the_reason_is_the_interfaces_own(link: Link, says: str) -> None:
    seen = snapshot((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), (link, "10.10.2.80"))
    found = inventory(seen, ("net1",), (), ("net1",))
    (held,) = (one for one in found.held if str(one.holding.address) == "10.10.2.80")
    assert says in held.why
    assert held.counts is (says == "")


def test_an_address_above_an_interface_is_shown_where_it_is_and_by_the_mac_below() -> None:
    vrrp = Link(9, "vrrp.51", "00:00:5e:00:01:33", local=True, lower=NET1.index)
    *_, held = inventory(snapshot((NET1, "10.10.1.80"), (vrrp, "10.10.1.90")), ("net1",), ()).held
    assert (held.holding.interface, held.holding.mac, held.counts) == ("vrrp.51", NET1.mac, True)


addresses = st.sampled_from(["10.10.1.80", "10.10.9.9", "fe80::1", "2001:db8::1", "127.0.0.1", "224.0.0.1"])
snapshots = st.lists(st.tuples(st.sampled_from([LO, ETH0, PRIMARY, NET1, NET2]), addresses), max_size=6)


@given(
    snapshots,
    st.sampled_from([((), ()), (("net1",), ()), (("net1", "net2"), ()), (("net1", "net2"), ("net2",))]),
    st.sampled_from([(), ("10.10.1.0/24",)]),
)
def test_what_counts_is_exactly_what_the_agent_assigns(
    held: list[tuple[Link, str]],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    allowed: tuple[str, ...],
) -> None:
    seen, networks = snapshot(*held), tuple(map(ip_network, allowed))
    named, counted = names
    counting = {one.holding for one in inventory(seen, named, networks, counted).held if one.counts}
    try:
        assert counting == set(select(seen, named, networks, counted).holdings)
    except UndecidedDefaultError:
        assert counting == set()


class TestTargets:
    def found(self, *held: tuple[Link, str]) -> dict[str, tuple[str | None, str, list[str]]]:
        entries = inventory(snapshot(*held), tuple(link.name for link, _ in held), ()).held
        return {
            str(one.holding.address): (
                target.eni.id if target.eni else None,
                target.found_by,
                [eni.id for eni in target.candidates],
            )
            for one, target in targets(entries, NODE).items()
        }

    def test_targets_by_mac_by_subnet_and_none(self) -> None:
        found = self.found((NET1, "10.10.1.80"), (MACVLAN, "10.10.1.90"), (MACVLAN, "192.168.7.7"))
        assert found == {
            "10.10.1.80": ("eni-1", BY_MAC, []),
            "10.10.1.90": ("eni-1", BY_SUBNET, ["eni-1", "eni-3"]),
            "192.168.7.7": (None, "", []),
        }

    def test_an_address_that_does_not_count_has_no_target(self) -> None:
        assert self.found((NET1, "fe80::1")) == {}

    def test_one_address_on_two_interfaces_of_one_eni(self) -> None:
        again = Link(6, "net9", NET1.mac)
        entries = inventory(snapshot((NET1, "10.10.1.80"), (again, "10.10.1.80")), ("net1", "net9"), ()).held
        assert [target.eni for target in targets(entries, NODE).values()] == [ENI_1, ENI_1]


def details(eni_id: str, *secondaries: str, vpc: str = "vpc-1", **more: str) -> EniDetails:
    return EniDetails(eni_id, ip("10.10.1.10"), tuple(map(ip, secondaries)), vpc_id=vpc, **more)  # type: ignore[arg-type] # texts only


class TestWhereabouts:
    HELD: tuple[Held, ...] = inventory(snapshot((NET1, "10.10.1.80")), ("net1",), ()).held
    FOUND = targets(HELD, NODE)
    ADDRESS = ip("10.10.1.80")

    def test_an_address_on_its_own_eni(self) -> None:
        (one,) = locate(
            self.HELD,
            self.FOUND,
            {"eni-1": frozenset({self.ADDRESS})},
            {"eni-1": details("eni-1", "10.10.1.80")},
            (),
        )
        assert (one.in_imds, one.in_ec2, one.elsewhere) == (True, True, None)

    def test_an_address_on_another_eni(self) -> None:
        other = details("eni-9", "10.10.1.80")
        (one,) = locate(self.HELD, self.FOUND, {"eni-1": frozenset()}, {"eni-1": details("eni-1")}, [other])
        assert (one.in_imds, one.in_ec2, one.elsewhere) == (False, False, other)

    def test_an_eni_of_another_vpc_is_not_the_holder(self) -> None:
        other = details("eni-9", "10.10.1.80", vpc="vpc-2")
        (one,) = locate(self.HELD, self.FOUND, {"eni-1": None}, {"eni-1": details("eni-1")}, [other])
        assert (one.in_imds, one.in_ec2, one.elsewhere) == (None, False, None)

    def test_without_ec2_the_holder_is_unknown(self) -> None:
        (one,) = locate(self.HELD, self.FOUND, {"eni-1": frozenset()}, None, ())
        assert (one.in_imds, one.in_ec2, one.elsewhere) == (False, None, None)


@pytest.mark.parametrize(
    ("imds", "ec2", "only_in_imds", "only_in_ec2"),
    [
        (["10.10.1.10", "10.10.1.60"], ["10.10.1.60"], [], []),
        (["10.10.1.10", "10.10.1.60"], [], ["10.10.1.60"], []),
        (["10.10.1.10"], ["10.10.1.60", "2001:db8::1"], [], ["10.10.1.60", "2001:db8::1"]),
        (None, ["10.10.1.60"], [], []),
        (["10.10.1.60"], None, [], []),
    ],
)
def test_what_imds_and_ec2_show_differently_is_marked(
    imds: list[str] | None, ec2: list[str] | None, only_in_imds: list[str], only_in_ec2: list[str]
) -> None:
    view = EniView(
        ENI_1,
        ("net1",),
        None if imds is None else frozenset(map(ip, imds)),
        None if ec2 is None else details("eni-1", *ec2),
    )
    assert [*map(str, view.only_in_imds)] == only_in_imds
    assert [*map(str, view.only_in_ec2)] == only_in_ec2
    assert view.assignable
