"""Looks for ENIs that changes in the pod cause are paced, and what needs none waits for none."""

from __future__ import annotations

from typing import Any

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.addresses import Link
from ipagent.direct.agent import CHANGE_LOOKUPS
from ipagent.direct.sidecar import Follower
from tests.ipagent.fakes import FakeSource, Time, ip
from tests.ipagent.imds_world import ALWAYS, FOREIGN, Account, History, Run, Unchanged

pytestmark = pytest.mark.pure

OURS, LATE = History(1), History(2, "subnet-2", attached=ALWAYS, partly=ALWAYS)


class Living:
    """A sidecar with net1 on an ENI, beside which interfaces come and go."""

    def __init__(self, *enis: History, mac: str = OURS.mac, **account: Any) -> None:
        self.account = Account(Time(), enis, **account)
        # Every interface counts that is not the default one.
        self.run = Run(self.account, mac, ip("10.10.1.80"), interfaces=())
        assert self.run.init().exit_code == ExitCode.OK
        source = self.run.agent._source  # noqa: SLF001 - the kernel
        assert isinstance(source, FakeSource)
        self.source = source
        (self.net1,) = (link for link in self.source.links if link.name == "net1")
        self.follower = Follower(self.run.agent, Unchanged())
        self.account.calls.clear()

    def add(self, link: Link, address: str) -> None:
        self.source.links = (*self.source.links, *([link] if link not in self.source.links else []))
        self.source.held.append((link, address))

    def changed(self) -> None:
        """Let the kernel tell of a change."""
        with self.run.connected():
            self.follower.mark_changed()
            self.follower.step()

    def flood(self, events: int) -> None:
        for _ in range(events):
            self.changed()
            self.account.time.sleep(0.01)


@pytest.mark.parametrize("failing", [{}, {"refused": True}, {"failing": 10_000}], ids=str)
def test_events_without_end_cause_no_calls_without_end(failing: dict[str, Any]) -> None:
    pod = Living(OURS, LATE)
    for name, value in failing.items():
        setattr(pod.account, name, value)
    pod.add(Link(4, "net2", LATE.mac), "10.10.2.90")
    pod.flood(2000)
    # 20 seconds: the first look, and those that its pace has by itself.
    assert 1 <= pod.account.calls.count("DescribeNetworkInterfaces") < 20


def test_nor_do_addresses_that_come_and_go() -> None:
    pod = Living(OURS, LATE)
    link = Link(4, "net2", LATE.mac)
    for _ in range(300):
        pod.add(link, "10.10.2.90")
        pod.changed()
        pod.source.held.remove((link, "10.10.2.90"))
        pod.changed()
        pod.account.time.sleep(0.1)
    looks = CHANGE_LOOKUPS.burst + 30 * CHANGE_LOOKUPS.refill
    assert pod.account.calls.count("DescribeNetworkInterfaces") < 3 * looks + 20


def test_an_address_whose_eni_is_known_waits_for_no_look() -> None:
    pod = Living(OURS, LATE)
    pod.add(Link(4, "net2", LATE.mac), "10.10.2.90")
    pod.flood(100)
    pod.account.failing = 10_000
    pod.account.calls.clear()
    pod.add(pod.net1, "10.10.1.81")
    pod.changed()
    # EC2 was asked for the assignment alone, at once.
    assert pod.account.calls == ["Assign"]


def test_what_waits_for_its_eni_gets_it_when_the_flood_goes_on() -> None:
    late = History(2, "subnet-2", attached=12.0, partly=14.0, whole=14.0, ranged=14.0)
    pod = Living(OURS, late)
    pod.add(Link(4, "net2", late.mac), "10.10.2.90")
    pod.flood(4000)
    assert ip("10.10.2.90") in pod.account.held[late.id]
    assert pod.account.wrong == []


def test_each_new_address_on_a_foreign_mac_is_assigned_at_once() -> None:
    pod = Living(OURS, mac=FOREIGN)
    for last in range(81, 121):
        pod.add(pod.net1, f"10.10.1.{last}")
        pod.changed()
        assert ip(f"10.10.1.{last}") in pod.account.held[OURS.id]
    assert "DescribeNetworkInterfaces" not in pod.account.calls
