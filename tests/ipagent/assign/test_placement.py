"""Which ENI carries an address."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.addresses import Holding
from ipagent.assign.placement import Placed, Unplaced, place, place_known
from ipagent.assign.topology import Eni, EniDetails, Topology

pytestmark = pytest.mark.pure

FOREIGN = "5e:00:00:00:00:99"


def eni(number: int, device: int, cidr: str | None) -> Eni:
    cidrs = (IPv4Network(cidr),) if cidr else ()
    return Eni(f"eni-{number}", f"02:aa:00:00:00:0{number}", device, f"subnet-{cidr}", cidrs)


PRIMARY = eni(0, 0, "10.10.0.0/24")
ONE = eni(1, 1, "10.10.1.0/24")
TWO = eni(2, 2, "10.10.2.0/24")
TWIN = eni(3, 3, "10.10.1.0/24")
NODE = Topology((PRIMARY, TWIN, TWO, ONE))


def holding(address: str, mac: str = FOREIGN, interface: str = "net1") -> Holding:
    return Holding(interface, mac, ip_address(address))


def chosen(placed: Placed) -> list[str]:
    return [placement.eni.id for placement in placed.placements]


def test_the_mac_decides_where_two_enis_share_a_subnet() -> None:
    for one in (ONE, TWIN):
        placed = place([holding("10.10.1.80", one.mac)], NODE)
        assert chosen(placed) == [one.id]
        assert placed.placements[0].warning == ""


def test_a_foreign_mac_leaves_it_to_the_subnet_with_a_warning() -> None:
    placed = place([holding("10.10.2.80")], NODE)
    assert chosen(placed) == ["eni-2"]
    assert FOREIGN in placed.placements[0].warning
    assert "macvlan" in placed.placements[0].warning
    assert "is taken" not in placed.placements[0].warning


def test_a_foreign_mac_among_twins_takes_the_lowest_device_and_names_all() -> None:
    for order in (NODE.enis, NODE.enis[::-1]):
        placed = place([holding("10.10.1.80")], Topology(order))
        assert chosen(placed) == ["eni-1"]
        warning = placed.placements[0].warning
        assert "eni-1 (device number 1), eni-3 (device number 3)" in warning
        assert "which goes to eni-1" in warning


def test_twins_with_one_device_number_are_told_apart_by_their_network_cards() -> None:
    placed = place(
        [holding("10.10.1.80")], Topology((PRIMARY, replace(TWIN, device_number=1, network_card=2), ONE))
    )
    assert chosen(placed) == ["eni-1"]
    says = "eni-1 (device number 1), eni-3 (device number 1 on network card 2)"
    assert says in placed.placements[0].warning


@pytest.mark.parametrize(
    ("mac", "address", "says"),
    [
        (PRIMARY.mac, "10.10.0.80", "device number 0"),
        (PRIMARY.mac, "10.10.1.80", "device number 0"),
        (FOREIGN, "10.10.0.80", "device number 0"),
        (FOREIGN, "192.168.0.1", "no ENI of this node"),
        (ONE.mac, "10.10.2.80", "outside that ENI's subnet 10.10.1.0/24"),
    ],
    ids=["device 0 by MAC", "its MAC, another subnet", "device 0 by subnet", "no subnet", "wrong subnet"],
)
def test_an_address_without_eni_is_named_with_the_reason(mac: str, address: str, says: str) -> None:
    placed = place([holding(address, mac)], NODE)
    assert placed.placements == ()
    assert says in placed.unplaced[0].reason


def test_a_node_with_device_0_alone_is_said_so() -> None:
    assert "device number 0 alone" in place([holding("10.10.1.80")], Topology((PRIMARY,))).unplaced[0].reason


def test_one_of_several_ranges_of_a_subnet_is_enough() -> None:
    wide = Eni("eni-1", ONE.mac, 1, "subnet-1", (IPv4Network("10.10.1.0/24"), IPv4Network("10.10.9.0/24")))
    assert chosen(place([holding("10.10.9.80", wide.mac)], Topology((wide,)))) == ["eni-1"]


def test_unknown_subnet_ranges_are_ec2s_to_judge() -> None:
    unknown = eni(1, 1, None)
    assert chosen(place([holding("10.10.1.80", unknown.mac)], Topology((unknown,)))) == ["eni-1"]


def test_one_address_on_interfaces_of_two_enis_is_on_none() -> None:
    both = [holding("10.10.1.80", ONE.mac), holding("10.10.1.80", TWIN.mac, "net2")]
    placed = place(both, NODE)
    assert placed.placements == ()
    assert [one.holding.interface for one in placed.unplaced] == ["net1", "net2"]
    assert "eni-1 and eni-3" in placed.unplaced[0].reason


def test_one_address_twice_on_one_eni_is_one_placement() -> None:
    both = [holding("10.10.1.80", ONE.mac), holding("10.10.1.80", ONE.mac, "net2")]
    assert chosen(place(both, NODE)) == ["eni-1"]


def test_an_eni_that_ec2_shows_without_its_mac_concerns_no_interface_without_one() -> None:
    topology = Topology((ONE,), absent={"": "eni-9, which is not attached here"})
    assert chosen(place([holding("10.10.1.80", "")], topology)) == [ONE.id]


def test_an_interface_without_mac_is_placed_by_subnet() -> None:
    assert chosen(place([holding("10.10.2.80", "")], NODE)) == ["eni-2"]


macs = st.sampled_from([PRIMARY.mac, ONE.mac, TWO.mac, TWIN.mac, FOREIGN, ""])
pods = st.lists(
    st.tuples(macs, st.ip_addresses(v=4, network="10.10.0.0/22"), st.sampled_from(["net1", "net2"])),
    max_size=8,
)


@given(pods, st.permutations(NODE.enis))
def test_every_holding_is_placed_or_named_and_never_on_device_0(
    pod: list[tuple[str, IPv4Address, str]], enis: list[Eni]
) -> None:
    holdings = [Holding(interface, mac, address) for mac, address, interface in pod]
    placed = place(holdings, Topology(tuple(enis)))
    assert placed == place(holdings, NODE)
    addresses = [placement.holding.address for placement in placed.placements]
    named = [one.holding.address for one in placed.unplaced]
    assert {h.address for h in holdings} == {*addresses, *named}
    assert len(addresses) == len(set(addresses))
    for placement in placed.placements:
        assert placement.eni.device_number != 0
        assert placement.eni.contains(placement.holding.address)


def test_an_eni_holds_its_primary_and_its_secondaries() -> None:
    held = EniDetails("eni-1", IPv4Address("10.10.1.10"), (IPv4Address("10.10.1.80"),))
    assert held.holds(IPv4Address("10.10.1.10"))
    assert held.holds(IPv4Address("10.10.1.80"))
    assert not held.holds(IPv4Address("10.10.1.81"))


class TestBarred:
    """ENIs that are known not to be for us."""

    NODE = Topology((PRIMARY, replace(ONE, barred="lacks the tag: tag it"), TWO))

    def test_its_mac_is_refused_with_the_reason(self) -> None:
        (one,) = place([holding("10.10.1.80", ONE.mac)], self.NODE).unplaced
        assert one.reason == "its interface has the MAC of eni-1, which lacks the tag: tag it"

    def test_its_subnet_does_not_choose_it(self) -> None:
        (one,) = place([holding("10.10.1.80")], self.NODE).unplaced
        assert one.reason == "it lies in the subnet 10.10.1.0/24 of eni-1, which lacks the tag: tag it"
        assert chosen(place([holding("10.10.1.80")], Topology((*self.NODE.enis, TWIN)))) == ["eni-3"]

    def test_it_is_named_where_no_eni_fits(self) -> None:
        (one,) = place([holding("10.10.9.80")], self.NODE).unplaced
        assert "there are eni-2 10.10.2.0/24, eni-1 lacks the tag: tag it" in one.reason

    def test_an_address_without_eni_names_the_barred_eni_rather_than_device_0(self) -> None:
        barred = replace(ONE, barred="lacks the tag: tag it")
        node = Topology((replace(PRIMARY, subnet_cidrs=ONE.subnet_cidrs), barred))
        (one,) = place([holding("10.10.1.80")], node).unplaced
        assert "lacks the tag" in one.reason


ON_1, ON_TWIN, AWAY = holding("10.10.1.80", ONE.mac), holding("10.10.1.81", TWIN.mac), holding("10.10.1.82")
BEFORE = place([ON_1, AWAY], NODE)
STRANGE = Unplaced(ON_TWIN, "no ENI has it")
FOUND, LOOKED_FOR = "found", "looked for"


@pytest.mark.parametrize(
    ("one", "before", "known", "expected"),
    [
        (ON_1, Placed(), {}, LOOKED_FOR),
        (ON_1, Placed(), {ONE.mac: ONE}, FOUND),
        (ON_1, BEFORE, {}, FOUND),
        # The subnet has decided before, and decides of no other address.
        (AWAY, BEFORE, {}, FOUND),
        (replace(AWAY, address=ip_address("10.10.1.83")), BEFORE, {ONE.mac: ONE}, LOOKED_FOR),
        # Another MAC: it may be on another ENI by now.
        (replace(ON_1, mac=TWIN.mac), BEFORE, {}, LOOKED_FOR),
        (replace(ON_1, mac=TWIN.mac), BEFORE, {TWIN.mac: TWIN}, FOUND),
        # What a look has left without an ENI is left to the next one.
        (ON_TWIN, Placed((), (STRANGE,)), {TWIN.mac: TWIN}, LOOKED_FOR),
        (ON_TWIN, Placed(), {TWIN.mac: replace(TWIN, barred="is a trunk")}, LOOKED_FOR),
        (holding("10.10.0.80", PRIMARY.mac), Placed(), {PRIMARY.mac: PRIMARY}, LOOKED_FOR),
        (holding("10.10.2.80", ONE.mac), Placed(), {ONE.mac: ONE}, LOOKED_FOR),
    ],
)
def test_what_is_known_places_an_address_or_leaves_it_to_the_next_look(
    one: Holding, before: Placed, known: dict[str, Eni], expected: str
) -> None:
    placed = place_known([one], before, known)
    assert (FOUND if placed.placements else LOOKED_FOR) == expected
    holdings = [each.holding for each in placed.placements] + [each.holding for each in placed.unplaced]
    assert holdings == [one]
    assert all(each.pending and not each.unranged for each in placed.unplaced)


def test_nor_does_what_is_known_put_one_address_on_two_enis() -> None:
    twice = holding("10.10.1.80", TWIN.mac, "net2")
    placed = place_known([ON_1, twice], BEFORE, {TWIN.mac: TWIN})
    assert placed.placements == ()
    assert {each.holding for each in placed.unplaced} == {ON_1, twice}
