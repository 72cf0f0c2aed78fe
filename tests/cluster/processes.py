"""Child processes that log to a file and never outlive their parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.cluster import die_with_parent
from tests.cluster.waiting import wait_for

Found = TypeVar("Found")

LAZY_GC = {"GOGC": "off", "GOMEMLIMIT": "600MiB"}
"""For Go programs: no garbage collection below so much memory, which is a third of Helm's CPU time and a
fifth of the API server's (https://go.dev/doc/gc-guide#Memory_limit)."""
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class ProcessError(RuntimeError):
    """A process ended, or did not become ready; the text ends with the tail of its log."""


class Process:
    """One program, from `with` to the end of its block.

    `argv[0]` is an absolute path. Start it in a thread that lives as long as the process should: the
    kernel kills it when that thread ends (see die_with_parent.py). Proxy variables are left out of its
    environment, since everything here is local. `pass_fds` are file descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._argv = [str(part) for part in argv]
        self._env = {**os.environ, **(env or {})}
        for variable in _PROXIES:
            self._env.pop(variable, None)
            self._env.pop(variable.upper(), None)
        self._pass_fds = tuple(pass_fds)
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        wrapper = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*wrapper, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                # Ctrl-C is for the parent, which then stops its processes in order.
                start_new_session=True,
                pass_fds=self._pass_fds,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id; raises ProcessError where it was not started."""
        return self._started().pid

    @property
    def ended(self) -> bool:
        """Whether it has ended; raises ProcessError where it was not started."""
        return self._started().poll() is not None

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the complete lines of one event in its log, where they are JSON."""
        lines = self.log.read_text(encoding="utf-8").split("\n")
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in found if line.get("event") == event]

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait for its end; nothing happens where it has ended."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def terminate(self, grace: float = 10.0) -> int:
        """Ask it to end (SIGTERM) and return its exit status, also where it has ended already.

        Raises ProcessError where it needs more than `grace` seconds; it is killed then.
        """
        process = self._started()
        process.terminate()
        try:
            return process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessError(self._report(f"did not end within {grace:g} s of SIGTERM")) from None

    def end(self, grace: float = 10.0) -> None:
        """Do as `terminate`; raises ProcessError also where its exit status is not 0."""
        if status := self.terminate(grace):
            raise ProcessError(self._report(f"ended with status {status}"))

    def check(self) -> None:
        """Raise ProcessError where it has ended."""
        status = self._started().poll()
        if status is not None:
            raise ProcessError(self._report(f"ended with status {status}"))

    def wait_until(self, ready: Callable[[], Found | None], what: str, timeout: float) -> Found:
        """Wait for `ready` at most `timeout` seconds; raises ProcessError where the process ends before."""

        def alive_and_ready() -> Found | None:
            self.check()
            return ready()

        try:
            return wait_for(alive_and_ready, what, timeout)
        except TimeoutError as error:
            raise ProcessError(self._report(f"is not ready: {error}")) from None

    def tail(self, lines: int = 30) -> str:
        """Return the last lines of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ProcessError(f"{self.name} was not started")
        return self._popen

    def _report(self, what: str) -> str:
        return f"{self.name} ({self._argv[0]}) {what}; the end of its log:\n{self.tail() or '(empty)'}"
