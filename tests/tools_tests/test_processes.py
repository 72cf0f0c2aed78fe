"""Processes of the tests: what is said when they fail, and that none is left over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.processes import Process, ProcessError
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

ENDLESS = "import time\nprint('up', flush=True)\nwhile True: time.sleep(1)"


def python(tmp_path: Path, code: str) -> Process:
    return Process("program", [sys.executable, "-c", code], log=tmp_path / "program.log")


def running(pid: int) -> bool:
    """A zombie is not running; its state follows the program's name in parentheses (proc(5))."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_process_dies_with_its_killed_parent(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from tests.cluster.processes import Process\n"
        f"argv = [sys.executable, '-c', {ENDLESS!r}]\n"
        f"with Process('child', argv, log=pathlib.Path({str(tmp_path / 'child.log')!r})) as child:\n"
        "    child.wait_until(lambda: 'up' in child.tail(), 'output', 30)\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.kill()
        wait_for(lambda: not running(pid), "end of the child", 10)


def test_a_process_ends_with_its_block(tmp_path: Path) -> None:
    with python(tmp_path, ENDLESS) as process:
        process.wait_until(lambda: process.tail() == "up", "output", 30)
        pid = process.pid
    assert not running(pid)


def test_a_process_that_ends_too_soon_is_reported_with_its_log(tmp_path: Path) -> None:
    with (
        python(tmp_path, "import sys; sys.exit('no such flag')") as process,
        pytest.raises(ProcessError, match=r"program .* ended with status 1; .*\nno such flag"),
    ):
        process.wait_until(lambda: False, "wonder", 30)


def test_a_process_that_is_never_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    with python(tmp_path, ENDLESS) as process:
        process.wait_until(lambda: process.tail() == "up", "output", 30)
        with pytest.raises(ProcessError, match=r"not ready: no wonder within 0\.1 s (.|\n)*\nup"):
            process.wait_until(lambda: False, "wonder", 0.1)


def test_a_program_that_fails_at_its_end_is_reported(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('fell over'))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    with python(tmp_path, code) as process:
        process.wait_until(lambda: process.tail() == "up", "output", 30)
        with pytest.raises(ProcessError, match=r"ended with status 1; (.|\n)*fell over"):
            process.end()


def test_proxies_of_the_environment_do_not_reach_local_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    with python(tmp_path, "import os; print([n for n in os.environ if 'proxy' in n.lower()])") as process:
        wait_for(process.tail, "output")
        assert process.tail() == "[]"
