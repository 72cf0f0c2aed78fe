"""When the node's ENIs are read: seldom, and whenever something may have changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipagent.assign.addresses import IPAddress, parse_address
from ipagent.node.reconcile.eni_cache import LATE_SECONDS, READS, RECHECK_SECONDS, EniCache
from tests.ipagent.fakes import Lines, Time
from tests.ipagent.node.account import Account, NodeCloud
from tests.ipagent.node.pods import MAC_1, MAC_2

pytestmark = pytest.mark.pure

BURST = int(READS.burst)
REFILL_SECONDS = 1 / READS.refill
FOREIGN = "5e:00:00:00:00:01"
LOST = parse_address("192.168.77.5")


class Rig:
    def __init__(self) -> None:
        self.time = Time()
        self.lines = Lines()
        self.cloud: NodeCloud = Account(self.time).node("a", 1)
        self.cache = EniCache(self.cloud, self.time.timing, self.lines.log)

    def step(self, *macs: str, unplaced: frozenset[IPAddress] = frozenset()) -> float | None:
        self.cache.step(frozenset(macs), unplaced, frozenset(macs))
        return self.cache.due_in(frozenset(macs), unplaced, frozenset(macs))

    @property
    def reads(self) -> int:
        return self.cloud.lookups


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_node_without_addresses_reads_nothing(rig: Rig) -> None:
    assert rig.step() is None
    assert rig.reads == 0


def test_an_eni_that_is_known_is_not_read_again_for_its_first_pod(rig: Rig) -> None:
    rig.step(MAC_1)
    assert rig.cache.unknown(frozenset({MAC_2})) == frozenset()
    rig.step(MAC_1, MAC_2)
    assert rig.reads == 1


def test_it_is_read_again_when_it_is_old(rig: Rig) -> None:
    rig.step(MAC_1)
    rig.time.now += 0.4 * RECHECK_SECONDS
    rig.step(MAC_1)
    assert rig.reads == 1
    rig.time.now += 1.5 * RECHECK_SECONDS
    rig.step(MAC_1)
    assert rig.reads == 2


def test_a_foreign_mac_causes_one_read_and_is_then_remembered(rig: Rig) -> None:
    rig.step(MAC_1)
    assert rig.cache.unknown(frozenset({FOREIGN})) == {FOREIGN}
    rig.step(MAC_1, FOREIGN)
    assert rig.cache.unknown(frozenset({FOREIGN})) == frozenset()
    rig.step(MAC_1, FOREIGN)
    assert rig.reads == 2


def test_an_eni_that_ec2_shows_late_is_found_and_a_foreign_mac_costs_few_reads(rig: Rig) -> None:
    late = next(each.eni for each in rig.cloud.mine() if each.eni.mac == MAC_2)
    rig.cloud.hidden.add(late.id)
    rig.step(MAC_1, MAC_2)
    rig.cloud.hidden.clear()
    assert rig.step(MAC_1, MAC_2) == pytest.approx(LATE_SECONDS[0])
    rig.time.now += LATE_SECONDS[0]
    rig.step(MAC_1, MAC_2)
    assert late in rig.cache.topology.enis
    before = rig.reads
    for _ in range(10):
        rig.time.now += rig.step(MAC_1, MAC_2, FOREIGN) or 0.0
        if rig.time.now > 1400:
            break
    assert rig.reads - before <= 1 + len(LATE_SECONDS) + 1


def test_an_address_that_fits_no_eni_may_appear_until_the_enis_were_read(rig: Rig) -> None:
    rig.step(MAC_1)
    assert rig.cache.may_appear(LOST)
    rig.step(MAC_1, unplaced=frozenset({LOST}))
    assert not rig.cache.may_appear(LOST)
    assert rig.reads == 2


def test_many_foreign_macs_are_not_many_reads(rig: Rig) -> None:
    macs = [f"5e:00:00:00:01:{number:02x}" for number in range(BURST + 3)]
    for number in range(1, BURST + 1):
        rig.step(*macs[:number])
    assert rig.reads == BURST
    assert rig.step(*macs) == pytest.approx(REFILL_SECONDS)
    assert rig.reads == BURST
    # Nothing that is known waits for that.
    assert rig.cache.unknown(frozenset({MAC_1})) == frozenset()
    rig.time.now += REFILL_SECONDS
    rig.step(*macs)
    assert rig.reads == BURST + 1
    assert rig.cache.unknown(frozenset(macs)) == frozenset()


def test_a_read_that_fails_keeps_what_was_known_and_is_a_warning_once(rig: Rig) -> None:
    rig.step(MAC_1)
    known = rig.cache.topology
    rig.cloud.away = True
    for _ in range(3):
        delay = rig.step(MAC_1, FOREIGN)
        assert delay
        rig.time.now += delay
    assert rig.cache.topology == known
    assert rig.cache.error is not None
    assert [line["level"] for line in rig.lines.of("lookup-failed")] == ["warning", "debug", "debug"]
    rig.cloud.away = False
    rig.time.now += 60
    rig.step(MAC_1, FOREIGN)
    assert rig.cache.error is None


def test_what_is_new_is_looked_for_at_once_beside_an_eni_that_can_not_be_asked_for(rig: Rig) -> None:
    rig.cloud.unread = {"eni-a-2"}
    late = next(each.eni for each in rig.cloud.mine() if each.eni.mac == MAC_1)
    rig.cloud.hidden.add(late.id)
    delays = []
    for _ in range(8):
        delays.append(rig.step(MAC_2) or 0.0)
        rig.time.now += delays[-1]
    assert delays == sorted(delays)
    assert delays[-1] >= 30
    rig.cloud.hidden.clear()
    rig.time.now -= delays[-1] / 2
    assert rig.step(MAC_1, MAC_2)
    assert late in rig.cache.topology.enis
    assert rig.cache.unknown(frozenset({MAC_1, MAC_2})) == frozenset()
    assert [*rig.cache.topology.unread] == ["eni-a-2"]
    assert rig.cache.may_appear(LOST)
    rig.cloud.unread.clear()
    rig.time.now += 61
    rig.step(MAC_1, MAC_2)
    assert (rig.cache.error, rig.cache.topology.unread) == (None, {})


def test_without_the_mac_of_an_eni_that_cannot_be_read_no_mac_is_foreign(rig: Rig) -> None:
    hidden = rig.cloud.account.enis["eni-a-2"]
    known, hidden.eni = hidden.eni, replace(hidden.eni, mac="", subnet_id="", subnet_cidrs=())
    rig.cloud.unread = {"eni-a-2"}
    rig.step(MAC_1, FOREIGN, unplaced=frozenset({LOST}))
    assert rig.cache.unknown(frozenset({MAC_1, FOREIGN})) == {FOREIGN}
    assert rig.cache.may_appear(LOST)
    hidden.eni = known
    rig.time.now += 61
    rig.step(MAC_1, FOREIGN, unplaced=frozenset({LOST}))
    assert rig.cache.unknown(frozenset({MAC_1, FOREIGN})) == frozenset()
    assert not rig.cache.may_appear(LOST)


def test_each_eni_that_cannot_be_read_is_named_once(rig: Rig) -> None:
    for unread in ({"eni-a-2"}, {"eni-a-1", "eni-a-2"}, {"eni-a-1"}):
        rig.cloud.unread = unread
        rig.time.now += 61
        rig.step(MAC_1)
    said = [(line["level"], line["message"].split(":")[0]) for line in rig.lines.of("lookup-failed")]
    assert said == [
        ("warning", "Cannot read eni-a-2"),
        ("warning", "Cannot read eni-a-1, eni-a-2"),
        ("debug", "Cannot read eni-a-1"),
    ]


def test_what_no_look_has_shown_is_named_until_all_enis_were_read_once(rig: Rig) -> None:
    rig.cloud.unread = {"eni-a-2"}
    rig.step(MAC_1)
    assert [*rig.cache.topology.unread] == ["eni-a-2"]
    # An interface without a MAC waits for it, and causes no look by itself.
    assert rig.step() is not None
    rig.cloud.unread.clear()
    rig.time.now += 61
    rig.step()
    assert rig.cache.topology.unread == {}
    rig.cloud.unread = {"eni-a-2"}
    rig.time.now += 2 * RECHECK_SECONDS
    rig.step(MAC_1)
    assert (rig.cache.error is None, rig.cache.topology.unread) == (False, {})
