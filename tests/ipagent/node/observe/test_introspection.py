"""What `ipagent node status` and /metrics say of the same state."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from prometheus_client import generate_latest

from common.exit_codes import ExitCode
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import Holding
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.placement import Placement
from ipagent.assign.topology import Eni
from ipagent.node.central.pauses import Silence
from ipagent.node.gc.verdict import Decision, Verdict, VerdictReason
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.claim import ClaimState, ClaimStatus
from ipagent.node.model.gc_policy import GcMode
from ipagent.node.model.pod import ElasticIps, PodKey
from ipagent.node.observe.introspection import AgentState, document
from ipagent.node.observe.metrics import Metrics, Snapshot, state_of
from ipagent.node.observe.status_command import to_text

pytestmark = pytest.mark.pure

POD = PodKey("apps", "web-0", "u-1")
ENI = Eni("eni-1", "02:00:00:00:00:01", 1, "subnet-1")


def item(address: str, phase: Phase, failure: Failure | None = None) -> PlannedAddress:
    return PlannedAddress(Placement(Holding("net1", ENI.mac, ip_address(address)), ENI), phase, failure)


def verdict(address: str, decision: Decision, why: VerdictReason, until: float | None = None) -> Verdict:
    return Verdict("eni-1", ip_address(address), decision, why, f"because {why}", POD, until)


FULL = Failure(Fault.ENI_FULL, "the ENI is full")
ITEMS = (
    item("10.0.0.10", Phase.CONFIRMED),
    item("10.0.0.9", Phase.WANTED, FULL),
    item("10.0.0.8", Phase.REFUSED, FULL),
)
OWNERS = {(each.eni_id, each.address): POD for each in ITEMS}


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (Phase.CONFIRMED, "assigned"),
        (Phase.REFUSED, "failed"),
        (Phase.TAKEN, "failed"),
        (Phase.WANTED, "pending"),
        (Phase.ACCEPTED, "pending"),
        (Phase.DOUBTFUL, "pending"),
        (Phase.DISPUTED, "pending"),
    ],
)
def test_each_phase_is_one_of_three_states(phase: Phase, state: str) -> None:
    assert state_of(item("10.0.0.1", phase)) == state


def test_addresses_are_listed_in_order_with_pod_state_and_reason() -> None:
    found = document(AgentState("n1", items=ITEMS, owners=OWNERS), now=0.0)
    assert [(each["address"], each["state"], each["reason"]) for each in found["addresses"]] == [
        ("10.0.0.8", "failed", "the ENI is full"),
        ("10.0.0.9", "pending", "the ENI is full"),
        ("10.0.0.10", "assigned", ""),
    ]
    assert {each["pod"] for each in found["addresses"]} == {"apps/web-0"}


def test_what_is_left_behind_is_apart_from_what_stays_and_says_when_it_goes() -> None:
    verdicts = (
        verdict("10.0.0.10", Decision.KEEP, VerdictReason.HELD),
        verdict("10.0.0.50", Decision.KEEP, VerdictReason.FLOATING),
        verdict("10.0.0.51", Decision.WAIT, VerdictReason.LEAKED, until=130.2),
        verdict("10.0.0.52", Decision.RECLAIM, VerdictReason.LEAKED, until=90.0),
    )
    known = AgentState("n1", items=ITEMS, owners=OWNERS, mode=GcMode.ON, swept=True, verdicts=verdicts)
    found = document(known, now=100.0)["garbageCollection"]
    assert [(each["address"], each["dueInSeconds"]) for each in found["leaked"]] == [
        ("10.0.0.51", 30),
        ("10.0.0.52", 0),
    ]
    # What a pod has is among the addresses already.
    assert [(each["address"], each["why"]) for each in found["kept"]] == [("10.0.0.50", "floating")]
    text = to_text(document(known, now=100.0))
    assert "(due in 30 s)" in text
    assert "10.0.0.52       eni-1  because leaked (due)" in text


def test_the_text_says_what_is_not_known() -> None:
    text = to_text(document(AgentState("n1"), now=0.0))
    assert "API server:   last message never" in text
    assert "gc:           report, no sweep so far" in text
    assert "addresses:    0" in text


def test_the_text_of_a_node_at_work() -> None:
    known = AgentState("n1", "i-1", watch_age=12.34, items=ITEMS, owners=OWNERS, mode=GcMode.OFF)
    text = to_text(document(known, now=0.0))
    assert text.startswith("node:         n1 on i-1, ipagent ")
    assert "last message 12.3 s ago" in text
    assert "10.0.0.10       eni-1  assigned apps/web-0\n" in text
    assert "10.0.0.8        eni-1  failed   apps/web-0: the ENI is full\n" in text
    assert "gc:           off\n" in text


def test_whom_the_controller_does_not_answer_is_said_with_what_to_do() -> None:
    failure = Failure(Fault.UNREACHABLE, "no answer within 20 s", remedy="See who leads.")
    known = AgentState("n1", silences={"n1.oam": Silence(failure, since=100.0, last=150.4)})
    found = document(known, now=160.0)
    assert found["unanswered"] == [
        {
            "nodeAttachment": "n1.oam",
            "text": "no answer within 20 s",
            "remedy": "See who leads.",
            "sinceSeconds": 60,
            "lastSeconds": 10,
        }
    ]
    line = "  n1.oam: no answer within 20 s (for 60 s, asked last 10 s ago). See who leads."
    assert f"unanswered:   1\n{line}\n" in to_text(found)
    assert "unanswered" not in to_text(document(AgentState("n1"), now=0.0))


def test_while_an_answer_is_out_the_reason_is_what_an_address_failed_with_before() -> None:
    failure = Failure(Fault.UNREACHABLE, "not answered yet", pending=True).after(FULL)
    waiting = AgentState("n1", items=(item("10.0.0.9", Phase.WANTED, failure),))
    assert [each["reason"] for each in document(waiting, now=0.0)["addresses"]] == ["the ENI is full"]


def metrics(figures: Snapshot, *events: AddressEvent) -> list[str]:
    counted = Metrics(lambda: figures)
    counted.count(events)
    return generate_latest(counted.registry).decode().splitlines()


def test_every_state_is_there_also_where_nothing_is_in_it() -> None:
    lines = metrics(Snapshot(items=ITEMS[:1]))
    for state, value in (("assigned", "1.0"), ("pending", "0.0"), ("failed", "0.0")):
        assert f'multus_eni_node_addresses{{state="{state}"}} {value}' in lines
        assert f'multus_eni_node_claims{{state="{state}"}} 0.0' in lines
    assert 'multus_eni_node_token_reviews_total{result="refused"} 0.0' in lines


def test_a_watch_that_never_began_has_no_age() -> None:
    assert not any(line.startswith("multus_eni_node_watch_age_seconds") for line in metrics(Snapshot()))
    assert "multus_eni_node_watch_age_seconds 0.0" in metrics(Snapshot(watch_age=0.0))


def test_figures_become_samples() -> None:
    figures = Snapshot(
        conflicts=2,
        calls={("AssignPrivateIpAddresses", "throttled"): 3},
        statuses={POD: ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "done")},
        counts={"reviews_ok": 4, "refused_429": 7},
        candidates=5,
        events_dropped=6,
    )
    lines = metrics(figures)
    for line in (
        "multus_eni_node_conflicts 2.0",
        'multus_eni_node_ec2_calls_total{action="AssignPrivateIpAddresses",result="throttled"} 3.0',
        'multus_eni_node_claims{state="assigned"} 1.0',
        'multus_eni_node_token_reviews_total{result="ok"} 4.0',
        'multus_eni_node_sessions_refused_total{status="429"} 7.0',
        "multus_eni_node_gc_candidates 5.0",
        "multus_eni_node_events_dropped_total 6.0",
    ):
        assert line in lines


def test_address_events_are_counted_by_kind() -> None:
    address = ip_address("10.0.0.1")
    lines = metrics(
        Snapshot(),
        AddressEvent(EventType.ASSIGNED, POD, address, "eni-1", "", seconds=0.3),
        AddressEvent(EventType.ASSIGNED, POD, address, "eni-1", ""),
        AddressEvent(EventType.RECLAIMED, POD, address, "eni-1", ""),
        AddressEvent(EventType.CONFLICT, POD, address, "eni-1", ""),
    )
    assert "multus_eni_node_assigned_total 2.0" in lines
    assert "multus_eni_node_reclaimed_total 1.0" in lines
    assert 'multus_eni_node_routable_seconds_bucket{le="0.2"} 0.0' in lines
    assert 'multus_eni_node_routable_seconds_bucket{le="0.5"} 1.0' in lines
    assert "multus_eni_node_routable_seconds_count 1.0" in lines


def test_elastic_ips_are_shown_with_their_pods_and_why_they_are_missing() -> None:
    other = PodKey("apps", "web-1", "u-2")
    claimed = {
        other: ElasticIps(False, "net1: no Elastic IP of pool sip is free"),
        POD: ElasticIps(True, "198.51.100.7 (eipalloc-1) is associated with 10.0.0.10"),
    }
    found = document(AgentState("n1", elastic_ips=claimed), now=0.0)
    assert [(each["pod"], each["associated"]) for each in found["elasticIPs"]] == [
        ("apps/web-0", True),
        ("apps/web-1", False),
    ]
    assert to_text(found).partition("elastic IPs:")[2].splitlines()[:3] == [
        "  2",
        "  apps/web-0: 198.51.100.7 (eipalloc-1) is associated with 10.0.0.10",
        "  apps/web-1: missing: net1: no Elastic IP of pool sip is free",
    ]
    assert "elastic" not in to_text(document(AgentState("n1"), now=0.0))
