"""Every fault of EC2 and IMDS on the wire, in both modes and for both families at once: right, or named.

The agent is the real one, in a pod's network namespace. A fault that passes ends with the addresses on the
ENI; one that lasts ends with its exit code and the addresses named, never with exit 0 and nothing assigned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import HURRIED, Stage, wait_for
from tests.ipagent.worlds import ENI_1, MAC_1
from tests.netns import Node, Pod

pytestmark = pytest.mark.netns

HELD = ("10.10.1.80", "2001:db8:1::80")
ADDED = ("10.10.1.81", "2001:db8:1::81")
ASSIGNS = ("AssignPrivateIpAddresses", "AssignIpv6Addresses")
PATIENT = AgentSettings(interfaces=("net1",))

PASSING = {
    "throttled": {"error": "RequestLimitExceeded"},
    "internal error": {"error": "InternalError"},
    "internal error after the effect": {"error": "InternalError", "effect": True},
    "HTTP 500": {"status": 500},
    "HTTP 503 after the effect": {"status": 503, "effect": True},
    "reset": {"connection": "reset"},
    "reset after the effect": {"connection": "reset", "effect": True},
    "no answer": {"connection": "hang"},
    "no answer after the effect": {"connection": "hang", "effect": True},
    "slow": {"delay_ms": 1500},
}
PASSING_IMDS = {
    "HTTP 500": {"action": "imds", "status": 500, "times": 2},
    "reset": {"action": "imds", "connection": "reset", "times": 1},
    "token refused": {"action": "imds:token", "status": 401, "times": 1},
    "token expired": {"action": "imds:metadata", "status": 401, "times": 1},
    "no answer": {"action": "imds:metadata", "connection": "hang", "times": 1},
    "stale": {"action": "imds", "stale_ms": 60_000},
}
LASTING = {
    "no rights": ({"error": "UnauthorizedOperation"}, ExitCode.NO_PERMISSION),
    "unknown error": ({"error": "SomethingNew"}, ExitCode.ADDRESS_REFUSED),
    "throttled": ({"error": "RequestLimitExceeded"}, ExitCode.DEADLINE),
    "HTTP 500": ({"status": 500}, ExitCode.DEADLINE),
    "reset": ({"connection": "reset"}, ExitCode.EC2_UNREACHABLE),
    "no answer": ({"connection": "hang"}, ExitCode.EC2_UNREACHABLE),
}


@pytest.fixture
def on(node: Node, tmp_path: Path) -> Stage:
    return Stage(node, worlds.world(ipv6=True), tmp_path)


def pod_of(on: Stage) -> Pod:
    pod = on.node.pod()
    pod.add_interface("net1", mac=MAC_1, addresses=[f"{HELD[0]}/24", f"{HELD[1]}/64"])
    return pod


def on_each(actions: tuple[str, ...], fault: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"action": action, **fault, **more} for action in actions]


def assigned(on: Stage) -> list[str]:
    return sorted(on.secondaries(ENI_1) + on.ipv6s(ENI_1))


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_init_outlasts_it(on: Stage, fault: dict[str, Any]) -> None:
    on.put_faults(*on_each(ASSIGNS, fault, times=1))
    ended = on.init(pod_of(on), PATIENT)
    assert (ended.code, assigned(on)) == (ExitCode.OK, sorted(HELD)), ended.message


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_sidecar_outlasts_it(on: Stage, fault: dict[str, Any]) -> None:
    pod = pod_of(on)
    sidecar = on.sidecar(pod, PATIENT)
    sidecar.wait_until_started()
    on.put_faults(*on_each((*ASSIGNS, "DescribeNetworkInterfaces"), fault, times=1))
    pod.add_address("net1", f"{ADDED[0]}/24")
    pod.add_address("net1", f"{ADDED[1]}/64")
    sidecar.wait_for_addresses(ENI_1, *HELD, *ADDED)
    assert sidecar.end().code == ExitCode.OK


@pytest.mark.parametrize("fault", PASSING_IMDS.values(), ids=PASSING_IMDS)
def test_init_outlasts_what_befalls_imds(on: Stage, fault: dict[str, Any]) -> None:
    on.put_faults(fault)
    ended = on.init(pod_of(on), PATIENT)
    assert (ended.code, assigned(on)) == (ExitCode.OK, sorted(HELD)), ended.message


@pytest.mark.parametrize(("fault", "code"), LASTING.values(), ids=LASTING)
def test_init_names_what_lasts(on: Stage, fault: dict[str, Any], code: ExitCode) -> None:
    on.put_faults(*on_each(ASSIGNS, fault))
    ended = on.init(pod_of(on), HURRIED)
    assert (ended.code, assigned(on)) == (code, []), ended.message
    assert all(address in ended.message for address in HELD)


@pytest.mark.parametrize("fault", [fault for fault, _ in LASTING.values()], ids=LASTING)
def test_a_sidecar_says_what_lasts_and_goes_on(on: Stage, fault: dict[str, Any]) -> None:
    pod = pod_of(on)
    sidecar = on.sidecar(pod, PATIENT)
    sidecar.wait_until_started()
    on.put_faults(*on_each(ASSIGNS, fault))
    for address in (f"{ADDED[0]}/24", f"{ADDED[1]}/64"):
        pod.add_address("net1", address)

    def named() -> bool:
        said = [line["address"] for line in sidecar.lines() if line["level"] in ("warning", "error")]
        return all(any(address in each.split(",") for each in said) for address in ADDED)

    wait_for(named, "both addresses in its log")
    assert sidecar.process.poll() is None
    assert assigned(on) == sorted(HELD)
    assert sidecar.end().code == ExitCode.OK


def test_imds_that_never_gives_a_token_is_named(on: Stage) -> None:
    on.put_faults({"action": "imds:token", "connection": "hang"})
    ended = on.init(pod_of(on), HURRIED)
    assert (ended.code, assigned(on)) == (ExitCode.NO_IMDS, [])
    assert "HttpPutResponseHopLimit" in ended.message
