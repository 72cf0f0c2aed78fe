"""Whatever IMDS shows and when: exit code 0 only if EC2 has every address on the ENI whose MAC carries it.

Nothing lands on an ENI that is not attached here, or not ours; what a sidecar learns later it puts right.
Histories are drawn; the cases of tests/cases/imds are those that somebody has thought of.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from common.agent_settings import Takeover
from common.exit_codes import ExitCode
from ipagent.assign.addresses import parse_networks
from tests.ipagent.fakes import Time, ip
from tests.ipagent.imds_world import (
    ALWAYS,
    BEFORE,
    CIDRS,
    FOREIGN,
    HANG,
    HOST,
    MACS,
    PRIMARY_MAC,
    REGION,
    RESET,
    Account,
    Disturbance,
    History,
    Run,
)

pytestmark = pytest.mark.pure

CASES = sorted((Path(__file__).parents[2] / "cases" / "imds").glob("*.yaml"))
MAC_OF = {"foreign": FOREIGN, "primary": PRIMARY_MAC}
EXPECTED = {"exit", "holders", "within", "says", "never", "calls"}
ACTIONS = {"Assign", "DescribeNetworkInterfaces", "DescribeSubnets"}
OF_IDENTITY = ["* */instance-i*", "* */region"]
FOLLOWED = 300.0
SOON = 5.0
"""When a disturbance that keeps IMDS from answering at all is over: after 10 s of silence init ends."""


def _history(number: int, given: dict[str, Any]) -> History:
    late = given.get("late", "interface-id")
    prefixes = parse_networks(given.get("prefixes", ()))
    made = {**given, "late": tuple(late.split()), "prefixes": prefixes}
    return History(number, **made)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_a_case_ends_as_it_should(file: Path) -> None:
    case: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
    enis = tuple(_history(number, given or {}) for number, given in case["enis"].items())
    disturbances = tuple(Disturbance(**each) for each in case.get("imds", ()))
    account = Account(Time(), enis, disturbances=disturbances, **case.get("ec2", {}))
    pod = case["pod"]
    mac = MAC_OF.get(pod["mac"]) or next(eni.mac for eni in enis if eni.number == pod["mac"])
    given = {key: pod[key] for key in ("region", "host") if key in pod}
    run = Run(account, mac, ip(pod["address"]), **{"region": "", **given})
    ended, expected = run.init(), case["expected"]
    assert expected.keys() <= EXPECTED
    assert expected.get("calls", {}).keys() <= ACTIONS
    if "follow" in pod:
        run.follow(pod["follow"])
    assert (ended.exit_code, run.on) == (expected["exit"], set(expected.get("holders", ()))), ended.message
    assert account.wrong == []
    assert account.now <= expected["within"] + pod.get("follow", 0)
    for text in expected.get("says", ()):
        assert text in ended.message
    for text in expected.get("never", ()):
        assert text not in ended.message
    for action, times in expected.get("calls", {}).items():
        assert account.calls.count(action) == times, account.calls


def test_of_an_address_outside_of_the_ranges_ec2_is_believed_beside_one_that_it_assigns() -> None:
    account = Account(Time(), (mine := History(1),))
    run = Run(account, mine.mac, ip("10.10.1.80"), beside="fd00::ac:5")
    ended = run.init()
    assert (ended.exit_code, run.on) == (ExitCode.NO_ENI, {mine.id}), ended.message
    assert "fd00::ac:5" in ended.message
    # Nothing is waited for: EC2 has told the ranges.
    assert run.lines.of("lookup-failed") == []
    assert account.now == 0
    assert account.calls.count("DescribeSubnets") == 1


seconds = st.sampled_from([0.0, 0.3, 2.0, 4.0, 15.0, 40.0, ALWAYS])
gaps = st.sampled_from([(ALWAYS, ALWAYS), (ALWAYS, ALWAYS), (0.0, 3.0), (0.2, 20.0)])
lates = st.sampled_from([("interface-id",), ("device-number",), ("subnet-id", "device-number")])


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, ...]:
    made = []
    # Often nothing changes in EC2, and IMDS alone is late.
    steady = draw(st.booleans())
    for number in range(1, draw(st.integers(1, 4)) + 1):
        attached = BEFORE if steady else draw(st.sampled_from([BEFORE, BEFORE, -1.0, 0.0, 5.0, 5.0]))
        detached = ALWAYS if steady else draw(st.sampled_from([ALWAYS, ALWAYS, -0.5, 1.0, 30.0]))
        partly = attached + draw(seconds)
        whole = partly + draw(seconds)
        ranged = whole + draw(st.sampled_from([0.0, 0.0, 2.0, ALWAYS]))
        card = draw(st.sampled_from([0, 0, 0, 1]))
        made.append(
            History(
                number,
                draw(st.sampled_from(sorted(CIDRS))),
                attached=attached,
                detached=detached,
                partly=partly,
                whole=whole,
                ranged=ranged,
                ranged_ipv6=ranged + draw(st.sampled_from([0.0, 0.0, 2.0, ALWAYS])),
                hidden=max(whole, detached) + draw(seconds),
                gap=draw(gaps),
                silent=0.0 if steady else draw(st.sampled_from([0.0, 0.0, 3.0])),
                kind=draw(st.sampled_from(["interface", "interface", "interface", "trunk"])),
                leaving=draw(st.sampled_from(["", "detaching", "elsewhere"])),
                late=("network-card",) if card else draw(lates),
                device=0 if card else -1,
                card=card,
            )
        )
    return tuple(made)


@st.composite
def disturbances(draw: st.DrawFn) -> tuple[Disturbance, ...]:
    made = []
    for _ in range(draw(st.integers(0, 2))):
        since = draw(st.sampled_from([BEFORE, 0.1, 1.0]))
        silence = st.tuples(st.sampled_from(["*", "PUT *"]), st.sampled_from([HANG, RESET]), st.just(SOON))
        lasting = st.sampled_from([1.0, SOON, 20.0])
        places = ["* /latest/*", "PUT *", f"GET {MACS}", f"GET {MACS}?*", *OF_IDENTITY]
        answers = [503, 429, 401, "", "<html>"]
        said = st.tuples(st.sampled_from(places), st.sampled_from(answers), lasting)
        missing = st.tuples(st.sampled_from(places[2:]), st.just(404), lasting)
        drawn: tuple[str, Any, float] = draw(st.one_of(silence, said, missing))
        path, answer, until = drawn
        made.append(Disturbance(path, answer, since, until))
    return tuple(made)


@settings(max_examples=15 * settings().max_examples, deadline=None)
@given(
    enis=histories(),
    whose=st.integers(0, 4),
    subnet=st.sampled_from(sorted(CIDRS)),
    version=st.sampled_from([4, 4, 6]),
    foreign=st.sampled_from([FOREIGN, ""]),
    refused=st.booleans(),
    subnets=st.booleans(),
    failing=st.integers(0, 3),
    takeover=st.sampled_from(Takeover),
    region=st.sampled_from([REGION, ""]),
    host=st.sampled_from([HOST, HOST, ""]),
    disturbances=disturbances(),
    tokens_end=st.sampled_from([ALWAYS, 0.2, 3.0]),
)
def test_no_history_lets_an_address_land_on_another_eni(
    enis: tuple[History, ...],
    whose: int,
    subnet: str,
    version: int,
    foreign: str,
    refused: bool,
    subnets: bool,
    failing: int,
    takeover: Takeover,
    region: str,
    host: str,
    disturbances: tuple[Disturbance, ...],
    tokens_end: float,
) -> None:
    account = Account(Time(), enis, refused, subnets, failing, disturbances, tokens_end)
    mine = next((eni for eni in enis if eni.number == whose), None)
    network = CIDRS[mine.subnet if mine else subnet][0 if version == 4 else 1]
    run = Run(account, mine.mac if mine else foreign, network[80], takeover, region, host=host)
    ended = run.init()
    event(f"exit {int(ended.exit_code)}, {'its own MAC' if mine else 'a foreign MAC'}")
    if ended.exit_code == ExitCode.OK:
        assert run.on
    if mine:
        assert run.on <= {mine.id}
    elif refused:
        assert not run.on
    # While IMDS shows no ENIs, a region lets the MAC name the ENI: without the node's address nothing tells
    # which node has that ENI.
    by_mac = bool(region) and not host and any(each.path not in OF_IDENTITY for each in disturbances)
    wrong = [
        eni.id for eni in enis if eni.id in account.wrong and not (by_mac and eni.leaving == "elsewhere")
    ]
    if not refused:
        assert wrong == []
    if mine and not refused and mine.stays:
        assert ended.exit_code == (ExitCode.OK if mine.ours else ExitCode.NO_ENI), ended.message
    if mine and refused and mine.settled:
        # IMDS has to do, which knows no types.
        assert ended.exit_code == ExitCode.OK, ended.message
    if (
        not mine
        and not refused
        and all(eni.stays if subnets else eni.settled for eni in enis)
        and any(e.subnet == subnet and e.ours for e in enis)
    ):
        assert ended.exit_code == ExitCode.OK, ended.message


@given(
    created=st.sampled_from([0.5, 3.0, 40.0]),
    lags=st.tuples(seconds, seconds, seconds),
    silent=st.sampled_from([0.0, 3.0]),
    subnets=st.booleans(),
    failing=st.integers(0, 3),
    takeover=st.sampled_from(Takeover),
)
def test_a_sidecar_puts_right_what_nobody_could_know_at_the_start(
    created: float,
    lags: tuple[float, float, float],
    silent: float,
    subnets: bool,
    failing: int,
    takeover: Takeover,
) -> None:
    other = History(1)
    _, partly, whole, ranged = itertools.accumulate(lags, initial=created)
    mine = History(
        2, created=created, attached=created, partly=partly, whole=whole, ranged=ranged, silent=silent
    )
    account = Account(Time(), (other, mine), False, subnets, failing)
    run = Run(account, mine.mac, ip("10.10.1.80"), takeover)
    assert run.init().exit_code == ExitCode.OK
    event(f"first on {sorted(run.on)}")
    run.follow(FOLLOWED)
    assert run.on == {mine.id}
    assert account.wrong == []
