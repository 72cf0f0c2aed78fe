"""What the controller remembers: it lives for months, and a node may see a million pods in one."""

from __future__ import annotations

import gc
from collections import deque
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

import pytest

from ipagent.assign.addresses import parse_address
from ipagent.node.model.pod import Pod
from ipagent.node.reconcile.controller import NodeController
from ipagent.node.reconcile.state import BUDGET
from ipagent.node_protocol import MAX_AGAIN
from tests.ipagent.node.pods import claim, holding, key, pod
from tests.ipagent.node.reconcile.controller_run import Run

pytestmark = pytest.mark.pure

WARM, MORE = 20, 60
"""Pods after which all that is kept for a while is there, and pods after that."""


def entries(root: object, *outside: object) -> int:
    """Count what the containers hold that can be reached from an object, but not through those `outside`."""
    seen = {id(each) for each in outside}
    waiting, found = deque([root]), 0
    while waiting:
        each = waiting.popleft()
        if id(each) in seen or isinstance(each, (type, ModuleType, FunctionType)):
            continue
        seen.add(id(each))
        if isinstance(each, (dict, set, frozenset, list, tuple, deque)):
            found += len(each)
        waiting.extend(gc.get_referents(each))
    return found


def life(run: Run, number: int, **more: Any) -> None:
    """Let a pod come, claim, and go; its MAC is its own, as with macvlan."""
    name, address = f"pod-{number}", f"10.1.{number // 200}.{number % 200 + 1}"
    mac = f"0e:00:00:00:{number // 256:02x}:{number % 256:02x}"
    one: Pod = pod(name, holdings=(holding(address, mac=mac),), **more)
    run.pods(one)
    run.claims(claim(name, address, release_on_exit=True))
    run.claims(claim(name, address, release_on_exit=True, leaving=True))
    run.core.end_session(key(name))
    run.core.update_pod(one, gone=True)
    run.live(60.0)


@pytest.mark.parametrize("takeover", [False, True], ids=["own", "taken over"])
def test_pods_that_are_gone_leave_nothing_behind(takeover: bool) -> None:
    run = Run()
    run.core = NodeController(run.cloud, run.grants, run.time.timing, run.lines.log, every_pod=True)
    run.core.replace_pods([])
    sizes = []
    for number in range(WARM + MORE):
        if takeover:
            run.put("eni-b-1", f"10.1.{number // 200}.{number % 200 + 1}")
        life(run, number)
        run.core.take_pod_statuses()
        run.core.take_status_changes()
        if number in (WARM - 1, WARM + MORE - 1):
            sizes.append(entries(run.core, run.account, run.lines, run.lines.log, run.time, run.happened))
    before, after = sizes
    assert after - before < MORE / 4


def test_of_what_a_pod_beyond_its_budget_adds_anew_only_its_own_addresses_are_kept() -> None:
    run, own = Run(), parse_address("10.1.1.1")
    many = frozenset(own + number for number in range(MAX_AGAIN))
    once = claim("a", "10.1.1.1", again=frozenset({own}))
    run.core.update_pod(pod("a", "10.1.1.1"))
    sizes = []
    for again in (*[once.again] * int(BUDGET.burst + 2), many):
        run.core.set_claim(replace(once, again=again))
        run.core.step()
        run.core.set_claim(once)
        run.core.step()
        run.core.take_status_changes()
        sizes.append(entries(run.core, run.account, run.lines, run.lines.log, run.time, run.happened))
    assert sizes[-1] - sizes[-2] < MAX_AGAIN / 4
