"""What is said of pods, and that nothing is said twice."""

from __future__ import annotations

import pytest

from common.contract import ExitCode
from ipagent.assign.errors import NoEni, NoImds
from ipagent.assign.faults import Failure, Fault
from ipagent.assign.plan import Item, Phase
from ipagent.assign.release import Ending
from ipagent.assign.report import Problem
from ipagent.node.model.claim import Phase as Told
from ipagent.node.model.claim import State
from ipagent.node.model.events import Kind
from ipagent.node.reconcile.changes import News
from ipagent.node.reconcile.desired import Wish
from ipagent.node.reconcile.status import Outlook, given_back, standing
from tests.ipagent.fakes import ip, placement
from tests.ipagent.node.pods import holding, pod

pytestmark = pytest.mark.pure

PLACED = placement("10.10.1.80")
A = PLACED.holding.address
WISH = Wish(pod("a", "10.10.1.80"), placements=(PLACED,), named=frozenset({A}))


def item(phase: Phase, fault: Fault | None = None) -> Item:
    return Item(PLACED, phase, Failure(fault, "why") if fault else None)


@pytest.mark.parametrize(
    ("one", "state", "code", "told"),
    [
        (item(Phase.CONFIRMED), State.ASSIGNED, ExitCode.OK, Told.ASSIGNED),
        (item(Phase.WANTED), State.PENDING, ExitCode.DEADLINE, Told.PENDING),
        (item(Phase.WANTED, Fault.THROTTLED), State.PENDING, ExitCode.DEADLINE, Told.PENDING),
        (item(Phase.WANTED, Fault.UNREACHABLE), State.PENDING, ExitCode.EC2_UNREACHABLE, Told.PENDING),
        (item(Phase.ACCEPTED), State.PENDING, ExitCode.DEADLINE, Told.PENDING),
        (item(Phase.DISPUTED, Fault.REFUSED), State.PENDING, ExitCode.ADDRESS_REFUSED, Told.PENDING),
        (item(Phase.WANTED, Fault.NO_PERMISSION), State.FAILED, ExitCode.NO_PERMISSION, Told.FAILED),
        (item(Phase.WANTED, Fault.ENI_FULL), State.FAILED, ExitCode.ENI_FULL, Told.FAILED),
        (item(Phase.REFUSED, Fault.REFUSED), State.FAILED, ExitCode.ADDRESS_REFUSED, Told.FAILED),
        (item(Phase.TAKEN, Fault.HELD_ELSEWHERE), State.FAILED, ExitCode.HELD_ELSEWHERE, Told.CONFLICT),
        (item(Phase.TAKEN), State.FAILED, ExitCode.HELD_ELSEWHERE, Told.CONFLICT),
    ],
)
def test_how_far_a_pod_is_follows_from_its_addresses(
    one: Item, state: State, code: ExitCode, told: Told
) -> None:
    said = standing(WISH, [one], (), Outlook())
    assert (said.state, said.code) == (state, code)
    assert [each.phase for each in said.addresses] == [told]
    assert "10.10.1.80" in said.message


def test_a_full_eni_that_is_about_to_be_swept_is_no_refusal_yet() -> None:
    full = item(Phase.WANTED, Fault.ENI_FULL)
    said = standing(WISH, [full], (), Outlook(making_room=frozenset({"eni-1"})))
    assert (said.state, said.code) == (State.PENDING, ExitCode.ENI_FULL)


def test_an_address_without_eni_is_refused_when_it_was_looked_for() -> None:
    lost = holding("10.9.9.9")
    each = Wish(pod("a"), unplaced=(Problem(lost, "", "no ENI", NoEni("no ENI")),))
    refused = standing(each, [], (), Outlook())
    assert (refused.state, refused.code) == (State.FAILED, ExitCode.NO_ENI)
    waiting = standing(each, [], (), Outlook(looking=True))
    assert waiting.state is State.PENDING
    assert [one.phase for one in waiting.addresses] == [Told.PENDING]


def test_what_failed_to_tell_the_enis_is_said_while_it_is_waited_for() -> None:
    each = Wish(pod("a"), held_back={holding("10.1.1.1"): "its ENI is being looked for"})
    said = standing(each, [], (), Outlook(lookup=NoImds("IMDS is silent")))
    assert said.state is State.PENDING
    assert "IMDS is silent" in said.message
    assert "its ENI is being looked for" in said.message


def test_a_pod_without_addresses_has_nothing_to_wait_for() -> None:
    said = standing(Wish(pod("a"), bare=("net1",)), [], (), Outlook())
    assert said.state is State.ASSIGNED
    assert "no addresses that count on net1" in said.message


def test_a_pod_that_ends_is_told_the_worst_that_has_happened() -> None:
    good = Ending("eni-1", ip("10.1.1.1"), "10.1.1.1 was taken off eni-1")
    bad = Ending("eni-1", ip("10.1.1.2"), "10.1.1.2 stays", Failure(Fault.NO_PERMISSION, "no"))
    assert given_back([], [good]).state is State.ASSIGNED
    said = given_back([], [good, bad])
    assert (said.state, said.code) == (State.FAILED, ExitCode.NO_PERMISSION)
    assert "10.1.1.1 was taken off eni-1; 10.1.1.2 stays" in said.message
    assert "no address to release" in given_back([], []).message


class TestNews:
    def of(self, news: News, *items: Item) -> list[Kind]:
        return [each.kind for each in news.of(WISH, items, (), Outlook())]

    def test_each_change_is_said_once(self) -> None:
        news = News()
        assert self.of(news, item(Phase.WANTED)) == []
        for phase, kind in (
            (Phase.CONFIRMED, Kind.ASSIGNED),
            (Phase.TAKEN, Kind.CONFLICT),
            (Phase.CONFIRMED, Kind.ASSIGNED),
        ):
            assert self.of(news, item(phase)) == [kind]
            assert self.of(news, item(phase)) == []

    def test_a_try_between_two_equal_failures_is_no_news(self) -> None:
        news = News()
        refused = item(Phase.REFUSED, Fault.REFUSED)
        assert self.of(news, refused) == [Kind.REFUSED]
        assert self.of(news, item(Phase.WANTED)) == []
        assert self.of(news, refused) == []

    def test_what_the_pod_had_dropped_is_news_when_it_comes_back(self) -> None:
        news = News()
        assert self.of(news, item(Phase.CONFIRMED)) == [Kind.ASSIGNED]
        assert list(news.of(Wish(WISH.pod), [], (), Outlook())) == []
        assert self.of(news, item(Phase.CONFIRMED)) == [Kind.ASSIGNED]

    def test_pods_that_are_gone_are_forgotten(self) -> None:
        news = News()
        self.of(news, item(Phase.CONFIRMED))
        news.forget([])
        assert self.of(news, item(Phase.CONFIRMED)) == [Kind.ASSIGNED]
