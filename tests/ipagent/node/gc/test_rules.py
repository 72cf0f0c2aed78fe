"""What is left behind: each rule by itself, and what must hold for all that may be known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.addresses import Holding, IPAddress
from ipagent.assign.errors import NoPermission
from ipagent.assign.release import Pair
from ipagent.assign.topology import Attached, Eni, EniDetails, Unread
from ipagent.node.gc.records import Origin, OwnershipRecord, OwnershipRecords
from ipagent.node.gc.rules import evaluate, suspected_leaks
from ipagent.node.gc.verdict import Candidate, Decision, GcInput, Verdict, VerdictReason
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from tests.ipagent.fakes import ENI_0, ENI_1, ENI_2, ip

pytestmark = pytest.mark.pure

GONE, LIVING = PodKey("apps", "gone", "uid-gone"), PodKey("apps", "living", "uid-living")
A = ip("10.10.1.80")
PAIR = ("eni-1", A)
NOW, COOLDOWN = 10_000.0, 60.0
EARLIER = {PAIR: Candidate(GONE, NOW - COOLDOWN)}
RECORD = OwnershipRecord(GONE, Origin.NETWORK_STATUS, 1000)
RULES = GcPolicy(GcMode.ON, cooldown=COOLDOWN)
FOREIGN = "5e:00:00:00:00:01"


def attached(eni: Eni, *secondaries: str, primary: str = "10.10.1.10") -> Attached:
    held = EniDetails(
        eni.id, ip(primary), tuple(map(ip, secondaries)), instance_id="i-1", device_number=eni.device_number
    )
    return Attached(eni, held)


ENIS = (attached(ENI_0, primary="10.10.0.10"), attached(ENI_1, str(A)), attached(ENI_2, primary="10.10.2.10"))
SIGHT = GcInput(OwnershipRecords({PAIR: RECORD}), (), ENIS, Ownership(complete=True), NOW, EARLIER)


def pod(
    *addresses: str, agent: InjectedAgent = InjectedAgent.NODE_INIT, mac: str = ENI_1.mac, **more: Any
) -> Pod:
    holdings = tuple(Holding("net1", mac, ip(address)) for address in addresses)
    return Pod(**{"key": LIVING, "alive": True, "holdings": holdings, "agent": agent, **more})


def sight(**changes: Any) -> GcInput:
    return replace(SIGHT, **changes)


def ownership(**more: Any) -> Ownership:
    return Ownership(complete=True, **more)


def verdict_on(seen: GcInput, rules: GcPolicy = RULES, address: IPAddress = A) -> Verdict:
    (found,) = (each for each in evaluate(seen, rules).verdicts if each.address == address)
    return found


def test_what_was_a_gone_pods_own_in_two_sweeps_a_cooldown_apart_is_taken() -> None:
    found = verdict_on(SIGHT)
    assert (found.eni_id, found.decision, found.why, found.pod) == (
        "eni-1",
        Decision.RECLAIM,
        VerdictReason.LEAKED,
        GONE,
    )
    assert found.text == "it was the own address of apps/gone, which is gone"


class TestTheCooldown:
    def test_the_first_sweep_only_notes_it(self) -> None:
        found = evaluate(sight(earlier={}), RULES)
        (one,) = found.verdicts
        assert (one.decision, one.until) == (Decision.WAIT, NOW + COOLDOWN)
        assert found.candidates == {PAIR: Candidate(GONE, NOW)}

    def test_a_sweep_before_its_end_waits_and_keeps_the_time(self) -> None:
        earlier = {PAIR: Candidate(GONE, NOW - COOLDOWN + 0.1)}
        found = evaluate(sight(earlier=earlier), RULES)
        assert found.verdicts[0].decision is Decision.WAIT
        assert found.candidates == earlier

    def test_another_owner_in_between_begins_it_anew(self) -> None:
        other = PodKey("apps", "other", "uid-other")
        found = evaluate(sight(earlier={PAIR: Candidate(other, NOW - 1000)}), RULES)
        assert found.verdicts[0].decision is Decision.WAIT
        assert found.candidates == {PAIR: Candidate(GONE, NOW)}

    def test_a_sweep_in_which_it_was_held_begins_it_anew(self) -> None:
        first = evaluate(sight(pods=(pod(str(A)),)), RULES)
        assert first.candidates == {}
        second = evaluate(sight(earlier=first.candidates), RULES)
        assert second.verdicts[0].decision is Decision.WAIT


KEPT: list[tuple[str, GcInput, GcPolicy, VerdictReason]] = [
    (
        "outside the managed ranges",
        SIGHT,
        replace(RULES, managed=(ip_network("10.10.2.0/24"),)),
        VerdictReason.NOT_MANAGED,
    ),
    (
        "of the other family alone",
        SIGHT,
        replace(RULES, managed=(ip_network("2001:db8::/32"),)),
        VerdictReason.NOT_MANAGED,
    ),
    (
        "outside the ENI's own subnet, where nothing else is managed",
        sight(enis=(attached(replace(ENI_1, subnet_cidrs=(ip_network("10.10.9.0/24"),)), str(A)),)),
        RULES,
        VerdictReason.NOT_MANAGED,
    ),
    (
        "of an ENI whose subnet is unknown",
        sight(enis=(attached(replace(ENI_1, subnet_cidrs=()), str(A)),)),
        RULES,
        VerdictReason.NOT_MANAGED,
    ),
    ("protected", SIGHT, replace(RULES, protected=(ip_network("10.10.1.80/32"),)), VerdictReason.PROTECTED),
    ("a living pod's own", sight(pods=(pod(str(A)),)), RULES, VerdictReason.HELD),
    ("a leaving pod's own", sight(pods=(pod(str(A), leaving=True),)), RULES, VerdictReason.HELD),
    (
        "a living pod's own on another ENI",
        sight(pods=(pod(str(A), mac=ENI_2.mac),)),
        RULES,
        VerdictReason.HELD,
    ),
    (
        "owned, as the watch knows",
        sight(ownership=ownership(owners={PAIR: LIVING})),
        RULES,
        VerdictReason.HELD,
    ),
    (
        "owned on another ENI",
        sight(ownership=ownership(owners={("eni-2", A): LIVING})),
        RULES,
        VerdictReason.HELD,
    ),
    ("named by a living pod", sight(ownership=ownership(named=frozenset({A}))), RULES, VerdictReason.HELD),
    ("handed out by the node", sight(pool=frozenset({PAIR})), RULES, VerdictReason.POOL),
    ("busy", sight(ownership=ownership(busy=frozenset({PAIR}))), RULES, VerdictReason.BUSY),
    ("unrecorded", sight(records=OwnershipRecords()), RULES, VerdictReason.UNRECORDED),
    (
        "recorded for another ENI",
        sight(records=OwnershipRecords({("eni-2", A): RECORD})),
        RULES,
        VerdictReason.UNRECORDED,
    ),
    (
        "floating",
        sight(records=OwnershipRecords({PAIR: replace(RECORD, origin=Origin.CLAIM)})),
        RULES,
        VerdictReason.FLOATING,
    ),
    (
        "floating, and there are said to be none",
        sight(records=OwnershipRecords({PAIR: replace(RECORD, origin=Origin.CLAIM)})),
        replace(RULES, no_floating=True),
        VerdictReason.FLOATING,
    ),
    ("recorded for a pod that lives", sight(pods=(pod(key=GONE),)), RULES, VerdictReason.OWNER_LIVES),
    (
        "recorded for a pod that the watch knows",
        sight(ownership=ownership(owners={("eni-2", ip("10.10.2.80")): GONE})),
        RULES,
        VerdictReason.OWNER_LIVES,
    ),
    ("without a complete watch", sight(ownership=Ownership()), RULES, VerdictReason.INCOMPLETE),
    (
        "beside a pod that can't be read",
        sight(pods=(pod(problem="not JSON", mac=ENI_2.mac),)),
        replace(RULES, no_floating=True, protected=(ip_network("10.10.3.0/24"),)),
        VerdictReason.UNREADABLE,
    ),
]


@pytest.mark.parametrize(("seen", "rules", "why"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_an_address_is_kept_for_the_stated_reason(seen: GcInput, rules: GcPolicy, why: VerdictReason) -> None:
    found = evaluate(seen, rules)
    (one,) = found.verdicts
    assert (one.decision, one.why, one.until) == (Decision.KEEP, why, None)
    assert one.text
    assert not found.candidates


class TestWhatIsNoneOfOurs:
    @pytest.mark.parametrize("eni", [replace(ENI_1, device_number=0), replace(ENI_1, barred="lacks the tag")])
    def test_another_eni_gets_no_verdict(self, eni: Eni) -> None:
        assert evaluate(sight(enis=(attached(eni, str(A)),)), RULES).verdicts == ()

    def test_a_primary_gets_none_whatever_is_listed(self) -> None:
        held = EniDetails("eni-1", A, (A, ip("2001:db8:1::80")), primary_ipv6=ip("2001:db8:1::80"))
        assert evaluate(sight(enis=(Attached(ENI_1, held),)), RULES).verdicts == ()


def other(agent: InjectedAgent, **more: Any) -> Pod:
    """A living pod beside the address, on the same ENI."""
    return pod("10.10.1.90", agent=agent, **more)


SIDECAR = InjectedAgent.NODE_SIDECAR
STATED = ownership(stated=frozenset({LIVING}))


class TestPodsThatMayHoldMore:
    @pytest.mark.parametrize(
        ("pods", "known", "blocked"),
        [
            ((other(InjectedAgent.NODE_INIT),), ownership(), False),
            ((other(InjectedAgent.DIRECT_INIT),), ownership(), False),
            ((other(InjectedAgent.DIRECT_SIDECAR),), ownership(), True),
            ((other(SIDECAR),), ownership(), True),
            ((other(SIDECAR),), STATED, False),
            ((other(SIDECAR, leaving=True),), ownership(), True),
            ((other(InjectedAgent.NONE),), ownership(), True),
            ((pod(agent=InjectedAgent.NONE),), ownership(), False),
            (
                (other(SIDECAR, mac=ENI_2.mac, holdings=(Holding("net1", ENI_2.mac, ip("10.10.2.90")),)),),
                ownership(),
                False,
            ),
            ((pod(agent=SIDECAR, bare=True),), ownership(), True),
            ((pod(agent=SIDECAR),), ownership(), False),
            ((pod(agent=SIDECAR, waiting=True),), ownership(), False),
            ((pod("192.168.0.5", agent=SIDECAR, mac=FOREIGN),), ownership(), True),
            ((pod("192.168.0.5", agent=InjectedAgent.NONE, mac=FOREIGN),), ownership(), False),
            ((other(SIDECAR, alive=False),), ownership(), False),
            ((), ownership(unstated={LIVING: frozenset({"eni-1"})}), True),
            ((), ownership(unstated={LIVING: frozenset({"eni-2"})}), False),
            ((), ownership(unstated={LIVING: frozenset()}), True),
        ],
        ids=[
            "node init",
            "direct init",
            "direct sidecar",
            "node sidecar that is silent",
            "node sidecar that has stated",
            "one that leaves",
            "no agent",
            "a pod of the cluster's network alone",
            "a silent sidecar of another ENI",
            "a silent sidecar without addresses",
            "a silent sidecar without an interface of Multus",
            "a sidecar that has not started",
            "a silent sidecar on no ENI",
            "a pod of a bridge",
            "a silent sidecar that has ended",
            "one that the watch alone knows",
            "one that the watch knows elsewhere",
            "one that the watch knows anywhere",
        ],
    )
    def test_nothing_is_swept_on_their_enis(
        self, pods: tuple[Pod, ...], known: Ownership, blocked: bool
    ) -> None:
        found = verdict_on(sight(pods=pods, ownership=known))
        assert (found.decision, found.why) == (
            (Decision.KEEP, VerdictReason.UNSTATED) if blocked else (Decision.RECLAIM, VerdictReason.LEAKED)
        )
        if blocked:
            assert "apps/living" in found.text
        # The operator's word that there are none.
        word = replace(RULES, no_floating=True)
        assert verdict_on(sight(pods=pods, ownership=known), word).decision is Decision.RECLAIM

    def test_protected_ranges_speak_for_pods_without_agent_and_for_no_others(self) -> None:
        rules = replace(RULES, protected=(ip_network("10.10.1.192/28"),))
        for agent, decision in (
            (InjectedAgent.NONE, Decision.RECLAIM),
            (InjectedAgent.DIRECT_SIDECAR, Decision.KEEP),
            (SIDECAR, Decision.KEEP),
        ):
            assert verdict_on(sight(pods=(other(agent),)), rules).decision is decision

    def test_a_pod_without_agent_whose_eni_can_not_be_told_is_on_all_of_which_that_is_so(self) -> None:
        vague = replace(ENI_1, subnet_cidrs=(ip_network("10.10.1.0/24"),))
        pods = (pod("2001:db8:7::5", agent=InjectedAgent.NONE, mac=FOREIGN),)
        assert verdict_on(sight(pods=pods)).decision is Decision.RECLAIM
        enis = (attached(vague, str(A)), attached(ENI_2, primary="10.10.2.10"))
        assert verdict_on(sight(pods=pods, enis=enis)).why is VerdictReason.UNSTATED

    def test_while_it_was_blocked_the_cooldown_did_not_run(self) -> None:
        first = evaluate(sight(pods=(other(SIDECAR),), earlier={}), RULES)
        assert first.candidates == {}


class TestObsolete:
    RECORDS = OwnershipRecords({PAIR: RECORD, ("eni-1", ip("10.10.1.81")): RECORD, ("eni-9", A): RECORD})

    def test_records_of_what_is_on_no_eni_and_nobodys_go(self) -> None:
        found = evaluate(sight(records=self.RECORDS), RULES)
        assert found.obsolete == {("eni-1", ip("10.10.1.81")), ("eni-9", A)}

    @pytest.mark.parametrize(
        ("living", "blocked"),
        [
            (pod("10.10.2.81", agent=SIDECAR, mac=ENI_2.mac), False),
            (pod("10.10.2.81", agent=InjectedAgent.DIRECT_SIDECAR, mac=ENI_2.mac), False),
            (pod("10.10.2.81", agent=SIDECAR, mac=FOREIGN), True),
            (pod("192.168.77.5", agent=SIDECAR, mac=ENI_2.mac), True),
            (pod("10.10.1.81", agent=SIDECAR), True),
        ],
        ids=["by MAC", "direct, by MAC", "a foreign MAC", "of no subnet of it", "of the other ENI"],
    )
    def test_a_silent_pod_of_an_eni_that_could_not_be_read_blocks_that_one_alone(
        self, living: Pod, blocked: bool
    ) -> None:
        unread = (Unread(ENI_2, NoPermission("no")),)
        found = verdict_on(sight(pods=(living,), enis=ENIS[:2], unread=unread))
        assert found.decision is (Decision.KEEP if blocked else Decision.RECLAIM)

    def test_records_of_what_is_on_an_eni_that_could_not_be_read_stay(self) -> None:
        unread = (Unread(ENI_1, NoPermission("no")),)
        found = evaluate(sight(records=self.RECORDS, enis=ENIS[2:], unread=unread), RULES)
        assert found.obsolete == {("eni-9", A)}
        assert found.verdicts == ()

    def test_the_record_of_what_is_on_its_way_to_an_eni_stays(self) -> None:
        """It is on the ENI a moment later, and would never be reclaimed without its record."""
        zero, one, two = ENIS
        arriving = replace(one.held, arriving=(ip("10.10.1.81"),))
        found = evaluate(sight(records=self.RECORDS, enis=(zero, replace(one, held=arriving), two)), RULES)
        assert found.obsolete == {("eni-9", A)}

    @pytest.mark.parametrize(
        "change",
        [
            {"pods": (pod(key=GONE),)},
            {"ownership": ownership(owners={("eni-1", ip("10.10.1.81")): GONE})},
            {"ownership": Ownership()},
        ],
        ids=["listed", "known to the watch", "not known"],
    )
    def test_a_living_pods_records_stay(self, change: dict[str, Any]) -> None:
        """It may not be assigned yet."""
        assert evaluate(sight(records=self.RECORDS, **change), RULES).obsolete == frozenset()


@pytest.mark.parametrize(
    ("records", "known", "rules", "suspicious"),
    [
        ({PAIR: RECORD}, ownership(), RULES, True),
        ({}, ownership(), RULES, False),
        ({PAIR: replace(RECORD, origin=Origin.CLAIM)}, ownership(), RULES, False),
        ({PAIR: RECORD}, ownership(owners={PAIR: LIVING}), RULES, False),
        ({PAIR: RECORD}, ownership(owners={("eni-2", A): LIVING}), RULES, True),
        ({PAIR: RECORD}, ownership(named=frozenset({A})), RULES, False),
        ({PAIR: RECORD}, ownership(), replace(RULES, protected=(ip_network("10.10.1.0/24"),)), False),
        ({PAIR: RECORD}, ownership(), replace(RULES, managed=(ip_network("10.10.2.0/24"),)), False),
        ({PAIR: RECORD}, ownership(), replace(RULES, managed=(ip_network("10.10.1.0/24"),)), True),
    ],
)
def test_a_sweep_is_made_where_something_may_be_left_behind(
    records: dict[Pair, OwnershipRecord], known: Ownership, rules: GcPolicy, suspicious: bool
) -> None:
    assert bool(suspected_leaks(OwnershipRecords(records), known, rules)) is suspicious


# Anything that may be known, of few addresses and pods, so that all of it meets.
TEXTS = ("10.10.1.80", "10.10.1.81", "10.10.2.80", "2001:db8:1::80", "10.99.0.1")
ADDRESSES = st.sampled_from(list(map(ip, TEXTS)))
KEYS = st.sampled_from([PodKey("apps", name, f"uid-{name}") for name in "abc"])
ENI_LIST = (ENI_0, ENI_1, ENI_2, replace(ENI_2, id="eni-3", mac="02:aa:00:00:00:03", barred="lacks the tag"))
ENI_IDS = st.sampled_from([eni.id for eni in ENI_LIST])
MACS = st.sampled_from([*(eni.mac for eni in ENI_LIST), FOREIGN, ""])
PAIRS = st.tuples(ENI_IDS, ADDRESSES)
RANGES = [ip_network(text) for text in ("10.10.1.0/24", "10.10.1.80/32", "::/0", "0.0.0.0/0")]


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Draw the usual value in three of four cases: where all is unusual nothing is ever taken."""
    return st.sampled_from([usual] * 3 * len(others) + list(others))


PODS = st.builds(
    Pod,
    key=KEYS,
    alive=mostly(True, False),
    leaving=st.booleans(),
    holdings=st.lists(st.builds(Holding, st.just("net1"), MACS, ADDRESSES), max_size=2).map(tuple),
    problem=mostly("", "not JSON"),
    agent=mostly(InjectedAgent.NODE_INIT, *InjectedAgent),
)


@st.composite
def known_belongings(draw: st.DrawFn) -> Ownership:
    if draw(mostly(True, False)):
        return Ownership(complete=True, stated=draw(st.frozensets(KEYS)))
    return Ownership(
        complete=draw(mostly(True, False)),
        owners=draw(st.dictionaries(PAIRS, KEYS, max_size=2)),
        named=draw(st.frozensets(ADDRESSES, max_size=1)),
        unstated=draw(st.dictionaries(KEYS, st.frozensets(ENI_IDS, max_size=2), max_size=1)),
        stated=draw(st.frozensets(KEYS)),
        busy=draw(st.frozensets(PAIRS, max_size=1)),
    )


@st.composite
def attachments(draw: st.DrawFn) -> tuple[Attached, ...]:
    found = []
    for eni in draw(st.permutations(ENI_LIST)):
        every = tuple(map(ip, draw(st.lists(st.sampled_from(TEXTS), unique=True, min_size=1))))
        primaries: dict[int, IPAddress | None] = {4: None, 6: None}
        if draw(mostly(False, True)):
            primaries |= {address.version: address for address in every}
        held = EniDetails(eni.id, primaries[4], every, primaries[6], device_number=eni.device_number)
        found.append(Attached(replace(eni, subnet_cidrs=draw(mostly(eni.subnet_cidrs, ()))), held))
    return tuple(found[: draw(mostly(4, 1, 2, 3))])


@st.composite
def sights(draw: st.DrawFn) -> GcInput:
    records, earlier = {}, {}
    for pair in [(eni.id, ip(text)) for eni in ENI_LIST for text in TEXTS]:
        owner = draw(KEYS)
        if draw(mostly(True, False)):
            records[pair] = OwnershipRecord(owner, draw(mostly(Origin.NETWORK_STATUS, Origin.CLAIM)), 1000)
        if draw(mostly(True, False)):
            since = draw(mostly(0.0, NOW - COOLDOWN, NOW - COOLDOWN + 1, NOW))
            earlier[pair] = Candidate(draw(mostly(owner, LIVING)), since)
    pods = draw(st.lists(PODS, unique_by=lambda each: each.key, max_size=2).map(tuple))
    return GcInput(
        OwnershipRecords(records), pods, draw(attachments()), draw(known_belongings()), NOW, earlier
    )


SIGHTS = sights()
RULE_SETS = st.builds(
    GcPolicy,
    mode=st.just(GcMode.ON),
    cooldown=st.just(COOLDOWN),
    managed=mostly((), *[(network,) for network in RANGES]),
    protected=mostly((), *[(network,) for network in RANGES]),
    no_floating=st.booleans(),
)


def taken(seen: GcInput, rules: GcPolicy) -> Mapping[Pair, Verdict]:
    return {each.pair: each for each in evaluate(seen, rules).of(Decision.RECLAIM)}


@given(SIGHTS, RULE_SETS)
def test_whatever_is_known_only_what_is_surely_left_behind_is_taken(seen: GcInput, rules: GcPolicy) -> None:
    enis = {each.eni.id: each for each in seen.enis}
    for (eni_id, address), verdict in taken(seen, rules).items():
        one = enis[eni_id]
        assert one.eni.device_number != 0
        assert not one.eni.barred
        assert address in one.held.secondaries
        assert address not in (one.held.primary, one.held.primary_ipv6)
        assert any(address in network for network in rules.managed or one.eni.subnet_cidrs)
        assert not any(address in network for network in rules.protected)
        living = [each for each in seen.pods if each.alive]
        assert not any(held.address == address for each in living for held in each.holdings)
        assert not any(held == address for _, held in seen.ownership.owners)
        assert address not in seen.ownership.named
        assert (eni_id, address) not in seen.ownership.busy
        record = seen.records.entries[(eni_id, address)]
        assert record.origin is Origin.NETWORK_STATUS
        assert record.pod not in [each.key for each in living]
        assert verdict.pod == record.pod
        earlier = seen.earlier[(eni_id, address)]
        assert earlier.pod == record.pod
        assert earlier.since + COOLDOWN <= seen.now
        assert seen.ownership.complete
        assert not any(each.problem for each in living)
        for each in living if not rules.no_floating else ():
            here = any(held.mac == one.eni.mac for held in each.holdings)
            assert not (here and each.agent is InjectedAgent.DIRECT_SIDECAR)
            silent = each.agent is InjectedAgent.NODE_SIDECAR and each.key not in seen.ownership.stated
            assert not (here and silent)


@given(SIGHTS, RULE_SETS)
def test_every_secondary_of_our_enis_has_a_verdict_and_nothing_else(seen: GcInput, rules: GcPolicy) -> None:
    expected = {
        (each.eni.id, address)
        for each in seen.enis
        if each.eni.device_number != 0 and not each.eni.barred
        for address in each.held.secondaries
        if address not in (each.held.primary, each.held.primary_ipv6)
    }
    found = evaluate(seen, rules)
    assert {each.pair for each in found.verdicts} == expected
    assert len(found.verdicts) == len(expected)
    assert found.candidates.keys() == {
        each.pair for each in found.verdicts if each.why is VerdictReason.LEAKED
    }


def less(draw: st.DrawFn, seen: GcInput) -> GcInput:
    """Take something away that is known, or add a pod of which something is not known."""
    known = seen.ownership

    def without(pairs: Mapping[Pair, Any]) -> dict[Pair, Any]:
        dropped = draw(st.sampled_from(sorted(pairs, key=str))) if pairs else None
        return {pair: each for pair, each in pairs.items() if pair != dropped}

    def unread(pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
        number = draw(st.integers(0, len(pods) - 1)) if pods else 0
        return tuple(
            replace(each, holdings=(), problem="cut") if index == number else each
            for index, each in enumerate(pods)
        )

    def rangeless(enis: tuple[Attached, ...]) -> tuple[Attached, ...]:
        return tuple(Attached(replace(each.eni, subnet_cidrs=()), each.held) for each in enis)

    changes: list[dict[str, Any]] = [
        {"records": OwnershipRecords(without(seen.records.entries))},
        {"earlier": without(seen.earlier)},
        {"earlier": {}},
        {"pods": unread(seen.pods)},
        {"pods": (*seen.pods, Pod(PodKey("apps", "new", "uid-new"), True, problem="not JSON"))},
        {"ownership": replace(known, complete=False)},
        {"ownership": replace(known, stated=frozenset())},
        {"ownership": replace(known, unstated={**known.unstated, LIVING: frozenset()})},
        {"enis": seen.enis[1:]},
        {"enis": rangeless(seen.enis)},
        {"enis": seen.enis[1:], "unread": (Unread(seen.enis[0].eni, NoPermission("no")),)},
    ]
    return replace(seen, **draw(st.sampled_from(changes)))


@given(SIGHTS, RULE_SETS, st.data())
def test_less_information_never_reclaims_more_addresses(
    seen: GcInput, rules: GcPolicy, data: st.DataObject
) -> None:
    poorer = data.draw(st.composite(less)(seen))
    assert taken(poorer, rules).keys() <= taken(seen, rules).keys()


@given(SIGHTS, RULE_SETS)
def test_what_a_sweep_would_take_was_suspected_before(seen: GcInput, rules: GcPolicy) -> None:
    """Without a suspect no sweep is made, and none would have taken anything."""
    assert taken(seen, rules).keys() <= suspected_leaks(seen.records, seen.ownership, rules)


@given(SIGHTS, RULE_SETS)
def test_the_first_sweep_takes_nothing(seen: GcInput, rules: GcPolicy) -> None:
    assert not taken(replace(seen, earlier={}), rules)


class TestGoneFromTheApiIsNotGone:
    def test_what_a_static_pods_mirror_owned_is_never_reclaimed(self) -> None:
        records = OwnershipRecords().updated({PAIR: GONE}, (), 0.0, {GONE})
        found = verdict_on(sight(records=records))
        assert (found.decision, found.why) == (Decision.KEEP, VerdictReason.STATIC_POD)
        assert suspected_leaks(records, Ownership(complete=True), RULES) == frozenset()

    def test_a_pod_of_that_name_without_network_status_keeps_its_predecessors_addresses(
        self,
    ) -> None:
        again = Pod(PodKey(GONE.namespace, GONE.name, "uid-anew"), alive=True, waiting=True)
        found = verdict_on(sight(pods=(again,)))
        assert (found.decision, found.why, found.blocker) == (
            Decision.KEEP,
            VerdictReason.SUCCESSOR,
            again.key,
        )
        written = replace(again, waiting=False, default_interfaces=("eth0",))
        assert verdict_on(sight(pods=(written,))).decision is Decision.RECLAIM

    def test_a_pod_of_that_name_in_another_namespace_keeps_nothing(self) -> None:
        other = Pod(PodKey("other", GONE.name, "uid-anew"), alive=True, waiting=True)
        assert verdict_on(sight(pods=(other,))).decision is Decision.RECLAIM

    @pytest.mark.parametrize("agent", InjectedAgent)
    def test_a_pod_to_which_multus_gave_nothing_blocks_nothing(self, agent: InjectedAgent) -> None:
        """Whoever may create pods could otherwise switch the collector off for a node."""
        idle = Pod(PodKey("apps", "idle", "uid-idle"), alive=True, agent=agent)
        assert verdict_on(sight(pods=(idle,))).decision is Decision.RECLAIM

    @pytest.mark.parametrize("agent", [InjectedAgent.DIRECT_SIDECAR, InjectedAgent.NODE_SIDECAR])
    def test_a_pod_with_an_interface_and_no_address_blocks_and_is_named(self, agent: InjectedAgent) -> None:
        bare = Pod(PodKey("apps", "bare", "uid-bare"), alive=True, agent=agent, bare=True)
        found = verdict_on(sight(pods=(bare,)))
        assert (found.why, found.blocker) == (VerdictReason.UNSTATED, bare.key)
