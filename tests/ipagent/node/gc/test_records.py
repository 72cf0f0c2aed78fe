"""Whose an address was, in memory and as bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.release import Pair
from ipagent.node.gc.records import (
    MAX_BYTES,
    MAX_RECORDS,
    Origin,
    OwnershipRecord,
    OwnershipRecords,
    decode,
    encode,
)
from ipagent.node.model.pod import PodKey
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

X, Y = PodKey("apps", "x-0", "uid-x"), PodKey("apps", "y-0", "uid-y")
A, B = ("eni-1", ip("10.10.1.80")), ("eni-1", ip("2001:db8:1::80"))

NAMES = st.text("abcdefghij-.0123456789", min_size=1, max_size=20)
PODS = st.builds(PodKey, NAMES, NAMES, NAMES)
PAIRS = st.tuples(st.sampled_from(["eni-1", "eni-2", "eni-3"]), st.ip_addresses())
RECORDS = st.dictionaries(
    PAIRS, st.builds(OwnershipRecord, PODS, st.sampled_from(Origin), st.integers(0, 1 << 40)), max_size=12
).map(OwnershipRecords)


class TestNoted:
    def test_the_first_owner_is_recorded_with_the_time(self) -> None:
        found = OwnershipRecords().updated({A: X, B: Y}, {B}, 1000.7)
        assert found.entries == {
            A: OwnershipRecord(X, Origin.NETWORK_STATUS, 1000),
            B: OwnershipRecord(Y, Origin.CLAIM, 1000),
        }

    def test_what_is_known_changes_nothing(self) -> None:
        first = OwnershipRecords().updated({A: X, B: Y}, {B}, 1000)
        assert first.updated({A: X, B: Y}, {B}, 2000) is first
        assert first.updated({}, (), 2000) is first

    def test_a_later_owner_replaces_the_former(self) -> None:
        found = OwnershipRecords().updated({A: X}, (), 1000).updated({A: Y}, (), 2000)
        assert found.entries[A] == OwnershipRecord(Y, Origin.NETWORK_STATUS, 2000)

    @pytest.mark.parametrize("before", [True, False])
    def test_the_same_owner_may_come_to_have_it_otherwise(self, before: bool) -> None:
        """A pod's network-status may come after its claim, or change with a new sandbox."""
        first = OwnershipRecords().updated({A: X}, {A} if before else (), 1000)
        found = first.updated({A: X}, () if before else {A}, 2000)
        assert found.entries[A] == OwnershipRecord(X, Origin.NETWORK_STATUS if before else Origin.CLAIM, 1000)

    @pytest.mark.parametrize("nobody", [PodKey("", "x", "u"), PodKey("n", "", "u"), PodKey("n", "x", "")])
    def test_a_pod_that_is_not_named_fully_is_not_recorded(self, nobody: PodKey) -> None:
        records = OwnershipRecords()
        assert records.updated({A: nobody}, (), 1000) is records

    def test_the_newest_are_kept_where_there_are_too_many(self) -> None:
        many = {("eni-1", ip(f"10.{n >> 8}.{n & 255}.1")): X for n in range(MAX_RECORDS)}
        old = OwnershipRecords().updated({A: Y}, (), 1000)
        found = old.updated(many, (), 2000)
        assert len(found.entries) == MAX_RECORDS
        assert A not in found.entries
        assert found.entries.keys() == many.keys()


def test_dropping_what_is_not_there_changes_nothing() -> None:
    found = OwnershipRecords().updated({A: X, B: Y}, (), 1000)
    assert found.without({("eni-2", A[1])}) is found
    assert found.without({A}).entries.keys() == {B}


@pytest.mark.parametrize(
    ("there", "here", "withdraws"),
    [
        (Origin.NETWORK_STATUS, Origin.CLAIM, True),
        (Origin.NETWORK_STATUS, Origin.NETWORK_STATUS, False),
        (Origin.CLAIM, Origin.NETWORK_STATUS, False),
        (Origin.NETWORK_STATUS, None, False),
        (None, Origin.CLAIM, False),
    ],
)
def test_a_weaker_record_withdraws_the_stored_one_at_once(
    there: Origin | None, here: Origin | None, withdraws: bool
) -> None:
    def one(origin: Origin | None) -> OwnershipRecords:
        return OwnershipRecords({A: OwnershipRecord(X, origin, 1)} if origin else {})

    assert one(here).withdraws(one(there)) is withdraws


class TestBytes:
    @given(RECORDS)
    def test_what_is_written_is_read_again(self, records: OwnershipRecords) -> None:
        assert decode(encode(records)) == (records, "")

    @given(RECORDS.filter(lambda records: records.entries), st.data())
    def test_a_truncated_checkpoint_is_refused(self, records: OwnershipRecords, data: st.DataObject) -> None:
        whole = encode(records)
        found, problem = decode(whole[: data.draw(st.integers(0, len(whole) - 2))])
        assert not found.entries
        assert problem

    @given(RECORDS.filter(lambda records: records.entries), st.data())
    def test_a_changed_byte_never_gives_other_records(
        self, records: OwnershipRecords, data: st.DataObject
    ) -> None:
        whole = bytearray(encode(records))
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        found, problem = decode(bytes(whole))
        assert found in (records, OwnershipRecords())
        assert bool(problem) is (found != records)

    @given(st.binary(max_size=200) | st.from_regex(r'\{"version":1,.{0,40}\}').map(str.encode))
    def test_a_checkpoint_that_is_not_json_is_refused(self, data: bytes) -> None:
        found, problem = decode(data)
        assert not found.entries
        assert problem

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"version": 2}, "version 2, and this release knows 1"),
            ({"version": True}, "not a record of this agent"),
            ({"version": "1"}, "not a record of this agent"),
            ({"records": {}}, "damaged"),
            ({"crc32": 0}, "damaged"),
            ({"crc32": None}, "damaged"),
        ],
    )
    def test_another_document_is_told_as_what_it_is(self, changes: dict[str, Any], says: str) -> None:
        document = json.loads(encode(OwnershipRecords().updated({A: X}, (), 1000)))
        found, problem = decode(json.dumps(document | changes).encode())
        assert not found.entries
        assert says in problem

    @pytest.mark.parametrize(
        "change",
        [
            {"address": "10.10.1"},
            {"address": 5},
            {"origin": "guess"},
            {"since": 1.5},
            {"since": True},
            {"since": None},
            {"uid": ""},
            {"uid": "u" * 300},
            {"name": "x\ny"},
            {"eni": None},
        ],
    )
    def test_an_entry_that_can_not_be_read_spoils_all(
        self, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ipagent.node.gc.records._checksum", lambda _: 0)
        document = json.loads(encode(OwnershipRecords().updated({A: X, B: Y}, (), 1000)))
        document["records"][1] |= change
        assert decode(json.dumps(document).encode()) == (OwnershipRecords(), "an entry can't be read")

    @pytest.mark.parametrize("entries", [[1], [[]], [{}]])
    def test_no_entry_at_all_spoils_all(self, entries: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ipagent.node.gc.records._checksum", lambda _: 0)
        data = json.dumps({"version": 1, "crc32": 0, "records": entries}).encode()
        assert decode(data) == (OwnershipRecords(), "an entry can't be read")

    def test_a_checkpoint_that_is_too_deep_or_too_large_is_refused(self) -> None:
        assert decode(b'{"a":' * 100_000) == (OwnershipRecords(), "it is not JSON, or not all of it")
        assert decode(b" " * (MAX_BYTES + 1)) == (OwnershipRecords(), f"it has more than {MAX_BYTES} bytes")

    def test_as_many_as_are_kept_are_read_again(self) -> None:
        owner = PodKey("n" * 63, "p" * 253, "u" * 36)
        many: dict[Pair, PodKey] = {
            (f"eni-{n:017x}", ip(f"2001:db8::{n:x}")): owner for n in range(MAX_RECORDS)
        }
        records = OwnershipRecords().updated(many, (), 1 << 33)
        assert decode(encode(records)) == (records, "")
