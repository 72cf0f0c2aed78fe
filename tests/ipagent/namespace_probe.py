"""A program in a pod's namespace that reads a question a line and prints each answer as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests import programs
from tests.netns import Pod


class Probe:
    """The running program."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, question: str) -> Any:
        """Send a question and return the answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{question}\n".encode())
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def probe(pod: Pod, module: str, *arguments: str, unprivileged: bool = True) -> Iterator[Probe]:
    """Run a module of `tests.ipagent` from here to the block's end, where it has to end by itself."""
    command = [programs.PYTHON, "-m", f"tests.ipagent.{module}", *arguments]
    env = {"PATH": "/usr/bin:/bin"}
    with pod.popen(
        command, env=env, stdin=subprocess.PIPE, stderr=None, unprivileged=unprivileged
    ) as process:
        yield Probe(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
