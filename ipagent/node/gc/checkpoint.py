"""Checkpoint of the ownership records: one file, replaced as a whole, written seldom.

A file that can't be replaced may be of any age, so it counts as no record at all. Disk errors are logged and
never fatal: the records in memory serve as long as the process lives.

Thread: the main loop's, through Collector; `close` at the end of the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from ipagent.assign.retry import NOW, Backoff, Timing, remaining
from ipagent.log import Log
from ipagent.node.gc.records import MAX_BYTES, OwnershipRecords, decode, encode

FILE, LOCK = "records.json", "lock"
LEAST_SECONDS = 5.0
"""Between two writes, unless what is on disk must not be believed a moment longer."""
PACE = Backoff(30.0, 600.0)
"""After a write that has failed."""


class Checkpoint:
    """Keeps the records in a folder; like the reconciler it never waits but for the disk."""

    def __init__(self, folder: Path, timing: Timing, log: Log) -> None:
        self._folder = folder
        self._file = folder / FILE
        self._timing = timing
        self._log = log
        self._saved = OwnershipRecords()
        self._records = self._saved
        self._due = NOW
        self._failing = False
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Lock the folder until `close`, or the end of the process; returns whether no other process has it.

        Two that replace each other's file would both take what they wrote for what it has. Where the folder
        can't be written there is no file to protect.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._folder / LOCK, flags, 0o600)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            # A file system without locks.
            os.close(descriptor)
            return True
        self._lock = descriptor
        return True

    def load(self) -> OwnershipRecords:
        """Read the records; none where they can't be read, or could not be replaced."""
        try:
            data = _read(self._file)
        except FileNotFoundError:
            data = encode(OwnershipRecords())
        except OSError as error:
            self._log_failure(f"can't be read: {error.strerror}")
            return OwnershipRecords()
        found, problem = decode(data)
        if problem:
            self._log.warning(
                "records-unread",
                message=f"The former records are ignored: {self._file} can't be used: {problem}",
            )
        self._records = found
        if not self._write(found):
            self._records = OwnershipRecords()
        return self._records

    def put(self, records: OwnershipRecords) -> None:
        """Write these soon; at once if an address is floating now that is a pod's own in the file."""
        self._records = records
        if records is not self._saved and not self._failing and records.withdraws(self._saved):
            self._write(records)

    def step(self) -> float | None:
        """Write what is due; returns the seconds until more is due, None if nothing is left to do."""
        if self._records is not self._saved and self._due.at <= self._timing.clock():
            self._write(self._records)
        return None if self._records is self._saved else remaining(self._due.at, self._timing.clock())

    def close(self) -> None:
        """Write what is not written yet, and let another process have the folder."""
        if self._records is not self._saved:
            self._write(self._records)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, records: OwnershipRecords) -> bool:
        now = self._timing.clock()
        try:
            _replace(self._folder, self._file, encode(records))
        except OSError as error:
            self._due = self._due.later(now, PACE, self._timing.random())
            self._log_failure(f"can't be written: {error.strerror}")
            return False
        self._saved = records
        self._due = NOW.later(now, Backoff(LEAST_SECONDS, LEAST_SECONDS), 1.0)
        self._failing = False
        return True

    def _log_failure(self, what: str) -> None:
        level = self._log.debug if self._failing else self._log.warning
        self._failing = True
        level(
            "records-failed",
            message=f"{self._file} {what}. Addresses that are leaked while the agent is not running "
            "are not reclaimed: give it a folder on the node that it may write to",
        )


def _read(file: Path) -> bytes:
    # Not a pipe that nobody writes to, and not what a link points at.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file")
        return opened.read(MAX_BYTES + 1)


def _replace(folder: Path, file: Path, data: bytes) -> None:
    """Replace the file so that a power cut leaves the old one or the new one; raises OSError."""
    new = file.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(descriptor)
    new.replace(file)
    above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)
