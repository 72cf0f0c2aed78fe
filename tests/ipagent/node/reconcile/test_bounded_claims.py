"""Whatever a pod states, the work for it grows with its size: the main loop does it for all pods of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest

from common.agent_settings import Mode
from ipagent.assign.addresses import Link, LinkAddress, Snapshot
from ipagent.assign.topology import Eni, Topology
from ipagent.node.model.claim import Claim
from ipagent.node.model.grants import Grant
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.reconcile.desired import ClaimView, desired_for
from ipagent.node.reconcile.state import STATUS_SECONDS
from ipagent.node_protocol import MAX_ADDRESSES, MAX_CIDRS, MAX_LINKS, MAX_STATEMENT
from tests.ipagent.node.reconcile.controller_run import Run
from tests.work_counter import count_calls

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

KEY = PodKey("apps", "web-0", "1")
ANY = ip_network("0.0.0.0/0")
FACTOR = 16
ETH0 = Link(1, "eth0", "02:00:00:00:00:01")

STACKS: dict[str, Callable[[int, int], int]] = {
    "beside each other": lambda *_: 0,
    "all above the first": lambda number, _: 2 if number else 0,
    "each above the one before": lambda number, _: number + 1 if number else 0,
    "in a circle": lambda number, count: (number + 1) % count + 2,
    "above themselves": lambda number, _: number + 2,
    "above the default one": lambda *_: ETH0.index,
}
CIDRS: dict[str, Callable[[int], str]] = {
    "outside": lambda number: f"192.168.{number % 256}.0/24",
    "inside": lambda number: f"10.{number % 256}.0.0/16",
    "in each other": lambda number: f"10.0.0.0/{8 + number % 24}",
}


def claim(share: int, stack: str, cidrs: str, spread: bool) -> Claim:
    """Return a claim with one of so many parts of what a statement may hold."""
    links, addresses = MAX_LINKS // share, MAX_ADDRESSES // share
    made = [
        Link(number + 2, f"n{number}", f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", lower=lower)
        for number in range(links - 1)
        for lower in (STACKS[stack](number, links - 1),)
    ]
    entries = (
        LinkAddress(number % links + 1 if spread else links, IPv4Address(0x0A000001 + number * 7))
        for number in range(addresses)
    )
    allowed = tuple(ip_network(CIDRS[cidrs](number)) for number in range(MAX_CIDRS // share))
    return Claim(KEY, Mode.SIDECAR, Snapshot((ETH0, *made), tuple(entries)), allowed=allowed)


def work_of(found: Claim) -> int:
    pod = Pod(KEY, alive=True)
    topology = Topology((Eni("eni-1", "02:00:00:00:00:01", 1, "subnet-1", (ip_network("10.0.0.0/8"),)),))
    view = ClaimView(found)
    return count_calls(lambda: desired_for(pod, view, Grant((ANY,)), topology))


@pytest.mark.parametrize("spread", [True, False], ids=["spread", "on the last one"])
@pytest.mark.parametrize("cidrs", CIDRS)
@pytest.mark.parametrize("stack", STACKS)
def test_the_work_for_a_claim_grows_with_its_size(stack: str, cidrs: str, spread: bool) -> None:
    small, large = (work_of(claim(share, stack, cidrs, spread)) for share in (FACTOR, 1))
    # Sorted once in a while; with one list in another it would be sixteen times as much again.
    assert large <= 2 * FACTOR * small


def test_what_is_told_and_kept_of_a_claim_is_of_its_size() -> None:
    """A process of 128 MiB tells each of them: a text of all CIDRs beside each address had 20 MiB."""
    found = claim(1, "beside each other", "outside", spread=False)
    run = Run()
    run.core.update_pod(Pod(KEY, alive=True))
    run.core.set_claim(replace(found, interfaces=(found.snapshot.links[-1].name,)))
    run.live(STATUS_SECONDS + 1)
    assert 0 < sum(len(each.message) for each in run.happened) < MAX_STATEMENT
    assert sum(len(each.text) for each in run.core.statuses()[KEY].addresses) < 4 * MAX_STATEMENT
