"""The waiting startup probe: `ipagent started --wait=SECONDS`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ipagent import cli, startup_probe
from tests import programs
from tests.cluster.waiting import wait_for

SECONDS = 60


def waiting(started_file: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the probe as a process of its own: it blocks a signal for good."""
    imports = "import sys; from ipagent import cli, startup_probe"
    env = f"{{{cli.ENV_STARTED_FILE!r}: {str(started_file)!r}}}"
    script = f"{imports}; {';'.join(more)}; sys.exit(cli.run(sys.argv[1:], {env}))"
    return subprocess.Popen([programs.PYTHON, "-c", script, "started", f"--wait={SECONDS}"])


def watches(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Return whether a process has the folder open, as it needs to be told of new files in it."""
    opened = set()
    for each in Path(f"/proc/{process.pid}/fd").iterdir():
        # The process may close it between the two looks.
        with contextlib.suppress(FileNotFoundError):
            opened.add(str(each.readlink()))
    return str(folder) in opened


def test_the_kernel_wakes_it_when_the_file_appears(tmp_path: Path) -> None:
    process = waiting(tmp_path / "started", "startup_probe.POLL_SECONDS = 10_000")
    wait_for(lambda: watches(process, tmp_path), "probe that watches the folder", SECONDS)
    assert process.poll() is None
    (tmp_path / "other").touch()
    (tmp_path / "started").touch()
    assert process.wait(SECONDS) == 0


@pytest.mark.pure
def test_a_file_that_is_there_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: pytest.fail("it waits"))
    (tmp_path / "started").touch()
    assert cli.run(["started", "--wait=9"], {cli.ENV_STARTED_FILE: str(tmp_path / "started")}) == 0


@pytest.mark.pure
@pytest.mark.parametrize("folder", ["", "not-there"])
def test_without_the_file_it_fails_once_its_time_is_over(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(signals: list[int], seconds: float) -> None:
        assert signals == [signal.SIGIO]
        assert 0 < seconds <= 7
        now[0] += seconds

    monkeypatch.setattr(signal, "sigtimedwait", wait)
    assert startup_probe.wait_started(str(tmp_path / folder / "started"), 7) is False
    assert now[0] == pytest.approx(107)


@pytest.mark.pure
def test_a_kernel_without_reports_is_looked_at_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, os.strerror(22))

    looks: list[float] = []

    def wait(_: object, seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            (tmp_path / "started").touch()

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(signal, "sigtimedwait", wait)
    assert startup_probe.wait_started(str(tmp_path / "started"), 60) is True
    assert looks == [startup_probe.POLL_SECONDS] * 3
