"""The records on disk: whole or not at all, seldom written, and never fatal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ipagent.node.gc import checkpoint as module
from ipagent.node.gc.checkpoint import FILE, LEAST_SECONDS, Checkpoint
from ipagent.node.gc.records import MAX_BYTES, OwnershipRecords, decode, encode
from ipagent.node.model.pod import PodKey
from tests.ipagent.fakes import Lines, Time, ip

pytestmark = pytest.mark.pure

X, Y = PodKey("apps", "x-0", "uid-x"), PodKey("apps", "y-0", "uid-y")
A, B = ("eni-1", ip("10.10.1.80")), ("eni-1", ip("10.10.1.81"))
ONE = OwnershipRecords().updated({A: X}, (), 1000)
TWO = ONE.updated({B: Y}, (), 1000)
FLOATING = ONE.updated({A: Y}, {A}, 1000)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def store(tmp_path: Path, time: Time, lines: Lines) -> Checkpoint:
    return Checkpoint(tmp_path, time.timing, lines.log)


def on_disk(folder: Path) -> OwnershipRecords:
    return decode((folder / FILE).read_bytes())[0]


class TestWriting:
    def test_the_first_change_is_written_when_there_is_time(
        self, store: Checkpoint, tmp_path: Path, time: Time
    ) -> None:
        assert store.load() == OwnershipRecords()
        store.put(ONE)
        assert on_disk(tmp_path) == OwnershipRecords()
        delay = store.step()
        assert delay == LEAST_SECONDS
        time.now += delay
        assert store.step() is None
        assert on_disk(tmp_path) == ONE

    def test_many_changes_are_few_writes(
        self, store: Checkpoint, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[bytes] = []
        real = module._replace

        def replace(folder: Path, file: Path, data: bytes) -> None:
            written.append(data)
            real(folder, file, data)

        monkeypatch.setattr(module, "_replace", replace)
        store.load()
        written.clear()
        records = OwnershipRecords()
        for number in range(100):
            records = records.updated({("eni-1", ip(f"10.10.1.{number}")): X}, (), 1000)
            store.put(records)
            store.step()
            time.now += 0.1
        time.now += LEAST_SECONDS
        assert store.step() is None
        assert len(written) <= 3
        assert on_disk(tmp_path) == records

    def test_nothing_is_written_where_nothing_changes(
        self, store: Checkpoint, tmp_path: Path, time: Time
    ) -> None:
        store.load()
        before = (tmp_path / FILE).stat().st_ino
        time.now += 1000
        assert store.step() is None
        assert (tmp_path / FILE).stat().st_ino == before

    def test_a_withdrawn_record_is_replaced_in_the_file_at_once(
        self, store: Checkpoint, tmp_path: Path, time: Time
    ) -> None:
        store.load()
        time.now += LEAST_SECONDS
        store.put(ONE)
        store.step()
        store.put(FLOATING)
        assert on_disk(tmp_path) == FLOATING

    def test_the_rest_is_written_at_the_end(self, store: Checkpoint, tmp_path: Path) -> None:
        store.load()
        store.put(TWO)
        store.close()
        assert on_disk(tmp_path) == TWO
        store.close()

    def test_the_checkpoint_is_readable_by_its_owner_alone(self, store: Checkpoint, tmp_path: Path) -> None:
        store.load()
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [tmp_path / FILE]


class TestReading:
    def test_what_was_written_is_there_after_a_restart(
        self, store: Checkpoint, tmp_path: Path, time: Time, lines: Lines
    ) -> None:
        store.load()
        store.put(TWO)
        store.close()
        assert Checkpoint(tmp_path, time.timing, lines.log).load() == TWO
        assert lines.all() == []

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"", "not JSON"),
            (b"\0" * 4096, "not JSON"),
            (encode(TWO)[:-20], "not all of it"),
            (encode(TWO).replace(b"10.10.1.80", b"10.10.1.90"), "damaged"),
            (encode(TWO).replace(b'"version":1', b'"version":2'), "version 2"),
            (b"x" * (MAX_BYTES + 10), "bytes"),
        ],
        ids=["empty", "zeros after a power cut", "cut", "changed", "newer", "large"],
    )
    def test_what_can_not_be_read_is_no_record_and_is_told(
        self, store: Checkpoint, tmp_path: Path, lines: Lines, data: bytes, says: str
    ) -> None:
        (tmp_path / FILE).write_bytes(data)
        assert store.load() == OwnershipRecords()
        (line,) = lines.of("records-unread")
        assert line["level"] == "warning"
        assert says in line["message"]
        assert on_disk(tmp_path) == OwnershipRecords()

    def test_a_pipe_a_link_or_a_folder_in_its_place_is_not_waited_for(
        self, store: Checkpoint, tmp_path: Path, lines: Lines
    ) -> None:
        file = tmp_path / FILE
        other = tmp_path / "other"
        other.write_bytes(encode(TWO))
        makes: list[Callable[[], None]] = [
            lambda: os.mkfifo(file),
            lambda: file.symlink_to(other),
            file.mkdir,
        ]
        for make in makes:
            make()
            assert store.load() == OwnershipRecords()
            file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        assert set(lines.events()) == {"records-failed"}
        assert other.read_bytes() == encode(TWO)


class TestTrouble:
    def test_a_missing_folder_is_told_once_and_is_not_fatal(
        self, tmp_path: Path, time: Time, lines: Lines
    ) -> None:
        folder = tmp_path / "missing"
        store = Checkpoint(folder, time.timing, lines.log)
        assert store.load() == OwnershipRecords()
        store.put(ONE)
        for _ in range(5):
            delay = store.step()
            assert delay is not None
            time.now += delay
        (line,) = (line for line in lines.all() if line["level"] == "warning")
        assert str(folder / FILE) in line["message"]
        assert "give it a folder" in line["message"]
        folder.mkdir()
        assert store.step() is None
        assert on_disk(folder) == ONE

    def test_a_file_that_can_not_be_replaced_counts_as_none(
        self, store: Checkpoint, tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / FILE).write_bytes(encode(TWO))

        def refuse(*_: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(module, "_replace", refuse)
        assert store.load() == OwnershipRecords()
        (line,) = lines.of("records-failed")
        assert "can't be written: Read-only file system" in line["message"]

    @pytest.mark.parametrize("step", ["open", "fsync", "rename", "the folder's fsync"])
    def test_a_power_cut_at_any_step_leaves_the_old_or_the_new(
        self,
        store: Checkpoint,
        tmp_path: Path,
        time: Time,
        lines: Lines,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
    ) -> None:
        store.load()
        store.put(ONE)
        store.close()

        class PowerCut(BaseException):
            pass

        def cut(*_: object, **__: object) -> None:
            raise PowerCut

        with monkeypatch.context() as patched:
            real, calls = os.fsync, [0]

            def fsync(descriptor: int) -> None:
                calls[0] += 1
                if calls[0] == (1 if step == "fsync" else 2):
                    raise PowerCut
                real(descriptor)

            if step == "open":
                patched.setattr(os, "open", cut)
            elif step == "rename":
                patched.setattr(Path, "replace", cut)
            else:
                patched.setattr(os, "fsync", fsync)
            store.put(TWO)
            with pytest.raises(PowerCut):
                store.close()
        found = Checkpoint(tmp_path, time.timing, lines.log).load()
        assert found == (TWO if step == "the folder's fsync" else ONE)
        assert lines.all() == []
        assert list(tmp_path.iterdir()) == [tmp_path / FILE]

    def test_a_full_disk_keeps_the_old_file_and_is_tried_again(
        self, store: Checkpoint, tmp_path: Path, time: Time, lines: Lines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.load()
        store.put(ONE)
        store.close()
        time.now += LEAST_SECONDS

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            store.put(TWO)
            delay = store.step()
            assert delay is not None
            assert delay > LEAST_SECONDS / 2
            assert store.step() == delay
            # It is told already that the disk is in trouble: no try with each change.
            store.put(FLOATING)
            assert on_disk(tmp_path) == ONE
        time.now += delay
        assert store.step() is None
        assert on_disk(tmp_path) == FLOATING
        assert lines.events("warning") == ["records-failed"]


class TestLock:
    """Only one process of a node has the folder."""

    def test_a_second_one_does_not_get_it_while_the_first_one_lives(
        self, store: Checkpoint, tmp_path: Path, time: Time, lines: Lines
    ) -> None:
        assert store.acquire()
        second = Checkpoint(tmp_path, time.timing, lines.log)
        assert not second.acquire()
        second.close()
        assert not second.acquire()
        store.close()
        assert second.acquire()
        second.close()

    def test_a_folder_that_can_not_be_written_has_nothing_to_protect(
        self, tmp_path: Path, time: Time, lines: Lines
    ) -> None:
        assert Checkpoint(tmp_path / "missing", time.timing, lines.log).acquire()

    def test_what_lies_in_the_locks_place_is_not_followed(self, store: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
        assert store.acquire()
        assert not (tmp_path / "elsewhere").exists()
