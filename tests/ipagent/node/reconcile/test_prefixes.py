"""Pods of a node whose addresses lie in prefixes that are delegated to its ENIs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.topology import Eni
from ipagent.node.model.claim import ClaimState
from ipagent.node.model.grants import Grants
from ipagent.node.model.pool_addresses import PoolAddresses
from ipagent.node.reconcile.controller import NodeController
from tests.ipagent.node.pods import claim, pod
from tests.ipagent.node.reconcile.controller_run import Run

pytestmark = pytest.mark.pure

PREFIXES = (ip_network("10.1.0.96/28"), ip_network("2001:db8:1:0:1::/80"))
INSIDE = ("10.1.0.100", "2001:db8:1:0:1::100")


def delegate(run: Run, eni_id: str = "eni-a-1") -> None:
    here = run.account.enis[eni_id]
    here.eni = replace(here.eni, prefixes=PREFIXES)


def test_a_pod_is_served_without_a_call_and_nothing_is_released_after_it() -> None:
    run = Run()
    delegate(run)
    run.pods(pod("a", *INSIDE))
    run.claims(claim("a", *INSIDE, release_on_exit=True))
    assert run.status().state is ClaimState.ASSIGNED
    run.claims(claim("a", *INSIDE, release_on_exit=True, leaving=True))
    run.core.update_pod(pod("a", *INSIDE), gone=True)
    run.live(1000)
    assert run.core.plan.items == ()
    assert {"assign", "unassign", "holders"}.isdisjoint(run.account.calls)


def test_in_the_prefix_of_another_eni_it_fails_and_names_it() -> None:
    run = Run()
    other = run.account.enis["eni-b-1"]
    other.eni = replace(other.eni, prefixes=PREFIXES)
    run.pods(pod("a", INSIDE[0]))
    run.claims(claim("a", INSIDE[0]))
    status = run.status()
    assert (status.state, status.code) == (ClaimState.FAILED, ExitCode.ADDRESS_REFUSED)
    assert "it lies in the prefix 10.1.0.96/28, which is delegated to eni-b-1" in status.message


class Imds:
    """What IMDS shows of node a's ENIs, and how often it was asked."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reads = 0
        self.late = False
        run.core = NodeController(
            run.cloud, run.grants, run.time.timing, run.lines.log, delegated=self.delegated
        )
        run.core.replace_pods([])

    def delegated(self, macs: Collection[str]) -> Mapping[str, Eni]:
        self.reads += 1
        enis = [held.eni for held in self.run.account.enis.values() if held.eni.mac in macs]
        return {eni.mac: replace(eni, prefixes=() if self.late else eni.prefixes) for eni in enis}


def test_a_node_agent_that_imds_tells_of_the_prefix_does_not_ask_ec2_for_a_pod() -> None:
    run = Run(Grants())
    delegate(run)
    imds = Imds(run)
    for name in "abc":
        run.pods(pod(name, INSIDE[0][:-1] + str(ord(name) % 8)))
        run.claims(claim(name, INSIDE[0][:-1] + str(ord(name) % 8)))
        assert run.status(name).state is ClaimState.ASSIGNED
    assert not run.account.calls
    run.live(2000)
    # Whether the ENI has its prefix still, only EC2 can tell.
    assert set(run.account.calls) == {"describe"}
    assert imds.reads == 1


def test_a_prefix_that_is_taken_up_while_pods_run_is_read_again_and_ec2_is_not_asked() -> None:
    run = Run(Grants())
    delegate(run)
    imds = Imds(run)
    run.pods(pod("a", INSIDE[0]))
    run.claims(claim("a", INSIDE[0]))
    here = run.account.enis["eni-a-1"]
    here.eni = replace(here.eni, prefixes=(*PREFIXES, ip_network("10.1.0.160/28")))
    run.pods(pod("b", "10.1.0.170"))
    run.claims(claim("b", "10.1.0.170"))
    assert run.status("b").state is ClaimState.ASSIGNED
    assert (not run.account.calls, imds.reads) == (True, 2)


def test_on_a_network_without_prefixes_imds_is_asked_once_a_minute_at_most() -> None:
    run = Run()
    imds = Imds(run)
    for name, address in zip("abcd", ("10.1.0.10", "10.1.0.11", "10.1.0.12", "10.1.0.13"), strict=True):
        run.pods(pod(name, address))
        run.claims(claim(name, address))
        assert run.status(name).state is ClaimState.ASSIGNED
    assert run.on() == {"10.1.0.10", "10.1.0.11", "10.1.0.12", "10.1.0.13"}
    assert imds.reads == 1
    run.live(2000)
    assert imds.reads == 1


def test_an_eni_that_ec2_says_is_not_ours_stays_refused_whatever_imds_shows() -> None:
    run = Run()
    delegate(run)
    Imds(run)
    here = run.account.enis["eni-a-1"]
    here.eni = replace(here.eni, barred="lacks the tag")
    run.pods(pod("a", "10.1.0.10"))
    run.claims(claim("a", "10.1.0.10"))
    run.pods(pod("b", INSIDE[0]))
    run.claims(claim("b", INSIDE[0]))
    assert run.status("b").state is ClaimState.FAILED
    assert "lacks the tag" in run.status("b").message


def test_a_single_address_of_the_pool_is_served_without_a_call_and_never_released() -> None:
    run = Run(Grants())
    address = ip_address("10.1.0.10")
    here = run.account.enis["eni-a-1"]
    here.secondaries.add(address)
    here.eni = replace(here.eni, prefixes=(ip_network(address),))
    Imds(run)
    run.pods(pod("a", str(address)))
    run.claims(claim("a", str(address), release_on_exit=True))
    assert run.status().state is ClaimState.ASSIGNED
    assert not run.account.calls
    run.live(2000)
    run.claims(claim("a", str(address), release_on_exit=True, leaving=True))
    run.core.update_pod(pod("a", str(address)), gone=True)
    run.live(1000)
    assert {"assign", "unassign"}.isdisjoint(run.account.calls)


def test_a_node_agent_that_starts_before_it_knows_the_pool_does_not_release_it_either() -> None:
    run = Run(Grants())
    address = ip_address("10.1.0.10")
    pool: list[PoolAddresses] = []
    run.core = NodeController(
        run.cloud, run.grants, run.time.timing, run.lines.log, pool=lambda: pool[0] if pool else None
    )
    run.core.replace_pods([])
    run.pods(pod("a", str(address)))
    run.claims(claim("a", str(address), release_on_exit=True))
    assert run.status().state is ClaimState.ASSIGNED
    pool.append(PoolAddresses(frozenset({("eni-a-1", address)})))
    run.claims(claim("a", str(address), release_on_exit=True, leaving=True))
    run.core.update_pod(pod("a", str(address)), gone=True)
    run.live(1000)
    assert "unassign" not in run.account.calls
    assert run.on() == {str(address)}


@pytest.mark.parametrize("ours", [True, False])
def test_what_a_pod_leaves_before_the_pool_is_known_is_released_once_it_is_and_lacks_it(ours: bool) -> None:
    run = Run(Grants())
    address = ip_address("10.1.0.10")
    pool: list[PoolAddresses] = []
    run.core = NodeController(
        run.cloud, run.grants, run.time.timing, run.lines.log, pool=lambda: pool[0] if pool else None
    )
    run.core.replace_pods([])
    run.pods(pod("a", str(address)), pod("b", "10.1.0.11"))
    run.claims(claim("a", str(address), release_on_exit=True))
    run.claims(claim("a", str(address), release_on_exit=True, leaving=True))
    run.live(60)
    assert "unassign" not in run.account.calls
    pool.append(PoolAddresses(frozenset({("eni-a-1", address)} if ours else ())))
    run.core.update_pod(pod("a", str(address)), gone=True)
    run.live(1000)
    assert run.on() == ({str(address), "10.1.0.11"} if ours else {"10.1.0.11"})
