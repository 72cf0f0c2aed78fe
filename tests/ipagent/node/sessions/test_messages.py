"""Statements in, statuses out: bounded, and the same on both sides."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import Mode, Takeover
from common.exit_codes import ExitCode
from ipagent import node_protocol
from ipagent.assign.addresses import Detection, IPAddress, Link, LinkAddress, Route, Snapshot
from ipagent.node.model.claim import AddressState, AddressStatus, Claim, ClaimState, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.http1 import BadRequest
from ipagent.node.sessions.messages import MAX_DEPTH, MAX_NAME, answer, read_statement

pytestmark = pytest.mark.pure

POD = {"namespace": "apps", "name": "web-0", "uid": "8d6b6f0e"}
LEAST = {"contract": 1, "pod": POD}

WHOLE: dict[str, Any] = {
    "contract": 1,
    "serial": 7,
    "mode": "sidecar",
    "pod": POD,
    "interfaces": ["net1"],
    "takeover": "never",
    "releaseOnExit": True,
    "allowedCidrs": ["10.10.1.0/24"],
    "again": ["10.10.1.81"],
    "leaving": True,
    "restarted": True,
    "eipWait": True,
    "links": [{"index": 3, "name": "net1", "mac": "02:aa:00:00:00:01", "loopback": False}],
    "addresses": [{"index": 3, "address": "2001:db8::80", "scope": 0, "flags": 0x40}],
    "routes": [{"index": 3, "destination": "0.0.0.0/0"}],
}


def line(statement: Any) -> bytes:
    return json.dumps(statement).encode()


def test_every_part_of_a_statement_is_read() -> None:
    statement = read_statement(line(WHOLE))
    assert statement.serial == 7
    assert statement.claim == Claim(
        pod=PodKey("apps", "web-0", "8d6b6f0e"),
        mode=Mode.SIDECAR,
        snapshot=Snapshot(
            links=(Link(3, "net1", "02:aa:00:00:00:01"),),
            addresses=(LinkAddress(3, ip_address("2001:db8::80"), detection=Detection.TENTATIVE),),
            routes=(Route(3, ip_network("0.0.0.0/0")),),
        ),
        interfaces=("net1",),
        takeover=Takeover.NEVER,
        release_on_exit=True,
        allowed=(ip_network("10.10.1.0/24"),),
        again=frozenset({ip_address("10.10.1.81")}),
        leaving=True,
        restarted=True,
        eip_wait=True,
    )


def test_what_a_newer_client_adds_is_ignored() -> None:
    newer = {**WHOLE, "contract": 99, "mood": ["fine"], "links": [{**WHOLE["links"][0], "mtu": 9001}]}
    assert read_statement(line(newer)) == read_statement(line(WHOLE))


def test_what_an_older_client_leaves_out_has_its_default() -> None:
    statement = read_statement(line(LEAST))
    assert statement.serial == 0
    assert statement.claim == Claim(PodKey("apps", "web-0", "8d6b6f0e"), Mode.INIT, Snapshot((), ()))


def changed(key: str, value: Any) -> dict[str, Any]:
    return {**WHOLE, key: value}


NESTED = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"banana", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"x": ' + NESTED.encode() + b"}", "nested"),
        (b"[" * 200_000, "nested"),
        (b"1" * 100_000, "not JSON"),
        (b" " * (node_protocol.MAX_STATEMENT + 1), "more than"),
        (line({}), "namespace"),
        (line(changed("pod", "web-0")), "pod is not a JSON object"),
        (line(changed("pod", {**POD, "uid": ""})), "uid is missing"),
        (line(changed("pod", {**POD, "name": "x" * (MAX_NAME + 1)})), "name is not a text"),
        (line(changed("contract", 0)), "contract"),
        (line(changed("contract", True)), "contract"),
        (line(changed("serial", -1)), "serial"),
        (line(changed("serial", 1.5)), "serial"),
        (line(changed("serial", 1 << 60)), "serial"),
        (line(changed("mode", "turbo")), "mode"),
        (line(changed("mode", ["init"])), "mode"),
        (line(changed("takeover", None)), "takeover"),
        (line(changed("releaseOnExit", "true")), "releaseOnExit"),
        (line(changed("interfaces", "net1")), "interfaces is not a list"),
        (line(changed("interfaces", [1])), "an interface"),
        (line(changed("interfaces", ["x"] * (node_protocol.MAX_NAMES + 1))), "interfaces has"),
        (line(changed("allowedCidrs", ["banana"])), "CIDR"),
        (line(changed("again", ["10.10.1"])), "IP address"),
        (line(changed("links", [[]])), "a link is not a JSON object"),
        (line(changed("links", [{"index": 1}])), "name"),
        (line(changed("links", [{"index": 1 << 32, "name": "x"}])), "index"),
        (line(changed("addresses", [{"index": 1}])), "an address"),
        (line(changed("addresses", [{"address": "1.1.1.1", "flags": "x"}])), "flags"),
        (line(changed("addresses", [{}] * (node_protocol.MAX_ADDRESSES + 1))), "addresses has"),
        (line(changed("addresses", [{"address": "2001:db8::80%net1"}])), "an address has a zone"),
        (line(changed("again", ["2001:db8::80%\ud800"])), "an address has a zone"),
        (line(changed("allowedCidrs", ["2001:db8::%net1/64"])), "a CIDR has a zone"),
        (line(changed("routes", [{"destination": "::/200"}])), "CIDR"),
    ],
)
def test_what_can_not_be_true_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        read_statement(data)


def test_brackets_in_a_name_are_no_nesting() -> None:
    links = [{"index": number, "name": '[[{"\\'} for number in range(100)]
    assert len(read_statement(line(changed("links", links))).claim.snapshot.links) == 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(WHOLE)), json_values)
def test_any_value_is_read_or_refused(key: str, value: Any) -> None:
    try:
        read_statement(line(changed(key, value)))
    except BadRequest as error:
        assert str(error)  # noqa: PT017 - a sentence, whatever it is


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_statement(data)
    except BadRequest as error:
        assert str(error)  # noqa: PT017


names = st.text(max_size=15)
phases = st.builds(
    AddressStatus, st.ip_addresses(), names, st.sampled_from(AddressState), names, st.text(max_size=40)
)
states = st.sampled_from([(ClaimState.PENDING, 17), (ClaimState.ASSIGNED, 0), (ClaimState.FAILED, 14)])


@given(
    states,
    st.text(max_size=200),
    st.lists(phases, max_size=20, unique_by=lambda each: (each.address, each.interface)),
    st.integers(0, node_protocol.MAX_TEXT),
)
def test_the_slim_client_reads_what_is_written_for_it(
    state: tuple[ClaimState, int], message: str, addresses: list[AddressStatus], serial: int
) -> None:
    standing = ClaimStatus(state[0], ExitCode(state[1]), message, tuple(addresses))
    written = answer(standing, serial)
    assert written.count(b"\n") == 1
    read = node_protocol.read_status(written)
    assert (read.serial, read.state, read.code, read.message) == (serial, state[0], state[1], message)
    assert read.addresses == {
        (str(each.address), each.interface): (each.phase, each.eni, each.text) for each in addresses
    }


def many(number: int, text: str) -> ClaimStatus:
    addresses: list[IPAddress] = [ip_address(0x0A000000 + each) for each in range(number)]
    told = tuple(AddressStatus(address, "net1", AddressState.FAILED, "eni-1", text) for address in addresses)
    return ClaimStatus(ClaimState.FAILED, ExitCode.ENI_FULL, "full", told)


def test_hundreds_of_long_sentences_leave_the_states() -> None:
    read = node_protocol.read_status(answer(many(500, "x" * 1000), 1))
    assert read.addresses
    assert len(read.addresses) == 500
    assert {text for _, _, text in read.addresses.values()} == {""}


def test_more_addresses_than_fit_leave_the_message() -> None:
    written = answer(many(5000, ""), 1)
    assert len(written) <= node_protocol.MAX_ANSWER
    read = node_protocol.read_status(written)
    assert (read.message, read.addresses) == ("full", None)


def test_a_long_message_is_cut() -> None:
    standing = replace(many(0, ""), message=f"{'é' * 10_000} what to do")
    message = node_protocol.read_status(answer(standing, 1)).message
    assert node_protocol.MAX_TEXT / 2 < len(message) <= node_protocol.MAX_TEXT
    assert message.endswith("é what to do")


def test_a_text_that_is_no_unicode_is_written_all_the_same() -> None:
    standing = replace(many(0, ""), message="\udcff")
    assert node_protocol.read_status(answer(standing, 1)).message == "?"


def test_both_sides_have_room_for_a_full_pod() -> None:
    """A pod with the most that is taken of everything can state it."""
    links = [{"index": 2**31, "name": "x" * 15, "mac": "02:aa:00:00:00:01", "loopback": False}]
    address = {
        "index": 2**31,
        "address": "2001:0db8:1111:2222:3333:4444:5555:6666",
        "scope": 254,
        "flags": 255,
    }
    full = {
        **WHOLE,
        "links": links * node_protocol.MAX_LINKS,
        "addresses": [address] * 1024,
        "routes": [{"index": 2**31, "destination": "0.0.0.0/0"}] * node_protocol.MAX_ROUTES,
        "again": [address["address"]] * 256,
    }
    written = node_protocol.chunk(full)
    assert len(written) < node_protocol.MAX_STATEMENT
    snapshot = read_statement(json.dumps(full, separators=(",", ":")).encode()).claim.snapshot
    assert len(snapshot.addresses) == 1024
