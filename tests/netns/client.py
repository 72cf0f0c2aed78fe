"""The other end of a holder process (`tests.netns.holder`): its start, and the requests to it."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKET = 1 << 16


class Client:
    """Sends requests to one holder, which ends when this is closed; `pid` is the holder's."""

    def __init__(self, requests: socket.socket, pid: int, wait: Callable[[], object]) -> None:
        self.pid = pid
        self._requests = requests
        self._wait = wait
        # Requests and answers alternate, whichever thread asks.
        self._asking = threading.Lock()

    def call(self, call: str, *, received: list[int] | None = None, **arguments: Any) -> Any:
        """Return the answer; sockets beside it are added to `received`. Raises OSError with what it says."""
        with self._asking:
            self._requests.send(json.dumps({"call": call, **arguments}).encode())
            return _answer(self._requests, call, received)

    def fork(self, kind: str) -> Client:
        """Have it fork a holder with a namespace of its own: kind `net` or `user`. Raises OSError."""
        with ExitStack() as opened:
            requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.enter_context(requests)
            with theirs, self._asking:
                packet = json.dumps({"call": "fork", "kind": kind}).encode()
                socket.send_fds(self._requests, [packet], [theirs.fileno()])
                pid = int(_answer(self._requests, "fork"))
            _answer(requests, "start")
            ended = os.pidfd_open(pid)
            opened.pop_all()
        return Client(requests, pid, functools.partial(_wait_for, ended))

    def close(self) -> None:
        """End the holder, and wait until its process is gone; once."""
        self._requests.close()
        self._wait()


def _wait_for(process: int) -> None:
    # Readable when the process has ended, also where it is no child of ours: pidfd_open(2).
    select.select([process], [], [])
    os.close(process)


def _answer(requests: socket.socket, call: str, received: list[int] | None = None) -> Any:
    packet, fds, _, _ = socket.recv_fds(requests, PACKET, 1)
    if received is not None:
        received.extend(fds)
    if not packet:
        raise OSError(f"{call}: the process that holds the namespace has ended; its error is above")
    answer = json.loads(packet)
    if "error" in answer:
        raise OSError(f"{call}: {answer['error']}")
    return answer["result"]


def start(kind: str) -> Client:
    """Start a holder as a process of its own: `here` or `forks`; raises OSError."""
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.netns.holder", str(theirs.fileno()), kind],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    client = Client(requests, process.pid, process.wait)
    try:
        _answer(requests, "start")
    except OSError:
        client.close()
        raise
    return client


def fork(kind: str) -> Client:
    """Fork a holder from one process that all nodes of this process share; raises OSError."""
    return _shared(os.getpid()).fork(kind)


@functools.cache
def _shared(_: int) -> Client:
    client = start("forks")
    atexit.register(client.close)
    return client
