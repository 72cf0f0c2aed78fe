"""SIGTERM ends the controller whatever its main thread is doing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
sys.exit(main.work(main.Options("prod", "eu-central-1", "default"), os.environ))
"""
ENDED = 17


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_while_the_main_thread_holds_a_lock_ends_it(tmp_path: Path, name: str) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "clusters": [{"name": "it", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "it", "user": {"token": "t"}}],
            }
        ),
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(name=name, code=ENDED)],
        env={**os.environ, "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    assert done.returncode == ENDED, done.stderr
