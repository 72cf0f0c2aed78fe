"""Pods of a node whose addresses lie in prefixes that are delegated to its ENIs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from common.contract import ExitCode
from ipagent.node.model.claim import ClaimState
from tests.ipagent.node.pods import claim, pod
from tests.ipagent.node.reconcile.test_controller import Run

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
