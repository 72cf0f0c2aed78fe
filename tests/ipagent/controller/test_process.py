"""SIGTERM ends the controller whatever its main thread is doing; its start ends once its parts are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.kubeconfig import NOBODY, write_kubeconfig

LONGEST = 120
"""Seconds after which it counts as hanging."""
SCRIPT = """
import os, signal, sys
from ipagent.controller import main

def run(process):
    # The loop's own thread takes this lock in each turn; whoever wakes the loop takes it, too.
    with process._loop.wakes._lock:
        os.kill(os.getpid(), signal.{name})
    process._stop.wait()
    return {code}

main._Process.run = run
sys.exit(main.run(main.Options("prod", "eu-central-1", "default"), os.environ))
"""
ENDED = 17
COLLECTING = """
import gc, os, sys
from common import python_gc
from ipagent.controller import main

def run(process):
    assert gc.get_threshold()[0] == python_gc.COLLECT_AT_WORK
    assert gc.get_freeze_count() > 0
    return {code}

python_gc.begin_startup()
main._Process.run = run
sys.exit(main.run(main.Options("prod", "eu-central-1", "default"), os.environ))
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    """A kubeconfig of an API server that nobody asks."""
    return write_kubeconfig(tmp_path / "kubeconfig", NOBODY)


def _run(script: str, config: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    assert done.returncode == ENDED, done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_while_the_main_thread_holds_a_lock_ends_it(config: Path, name: str) -> None:
    _run(SCRIPT.format(name=name, code=ENDED), config)


def test_once_its_parts_are_there_garbage_is_collected_as_usual_and_they_are_left_out(config: Path) -> None:
    _run(COLLECTING.format(code=ENDED), config)
