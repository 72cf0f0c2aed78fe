"""What nodes and pods have in common: a namespace that a process holds, and what runs in it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

from tests.netns.client import ROOT, Client
from tests.netns.spec import Spec

Stream = int | IO[bytes] | None


@dataclass(frozen=True)
class Completed:
    """A process that has ended; a negative `returncode` is the signal that ended it."""

    returncode: int
    stdout: str
    stderr: str
    termination_message: str = ""


@dataclass(frozen=True)
class Response:
    """An HTTP answer."""

    status: int
    body: bytes


class Namespace:
    """A namespace that a holder process lives in, and the processes started in it."""

    def __init__(self, holder: Client, user: int | None) -> None:
        self._holder = holder
        self._closing = ExitStack()
        self._closing.callback(holder.close)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._user = user
        self._net = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._closing.callback(os.close, self._net)

    def __enter__(self) -> Self:
        return self

    @property
    def network(self) -> Path:
        """The file of the network namespace, for programs of this process that enter it by themselves."""
        return Path(f"/proc/{os.getpid()}/fd/{self._net}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process that was started here, then the namespace; closing twice is fine."""
        for process in self._processes:
            end(process)
        self._processes.clear()
        self._closing.close()

    def until_closed(self, running: AbstractContextManager[object]) -> None:
        """Enter a context such as a server on a socket of `listen`; it is left when this is closed.

        By then the processes that were started here have ended.
        """
        self._closing.enter_context(running)

    def add_address(self, name: str, address: str, *, detect: bool = False) -> None:
        """Add an address such as `10.10.1.80/24` to an interface; OSError if the kernel refuses.

        With `detect` the kernel looks for duplicates of an IPv6 address, which is tentative for a second.
        """
        self._holder.call("add_address", name=name, address=address, detect=detect)

    def delete_address(self, name: str, address: str) -> None:
        """Remove an address, written as it was added.

        With the first IPv4 address of a subnet the kernel removes the others of that subnet, unless the
        interface's sysctl promote_secondaries is 1.
        """
        self._holder.call("delete_address", name=name, address=address)

    def add_route(self, destination: str, name: str, gateway: str | None = None) -> None:
        """Add a route such as `10.10.10.48/32` through an interface."""
        self._holder.call("add_route", destination=destination, name=name, gateway=gateway)

    def interfaces(self) -> dict[str, dict[str, Any]]:
        """Name -> `{"mac": ..., "addresses": ["10.10.1.80/24", ...]}`, `lo` among them."""
        found: dict[str, dict[str, Any]] = self._holder.call("interfaces")
        return found

    def listen(self, host: str, port: int) -> socket.socket:
        """Make a listening TCP socket in this namespace; it may be used by any thread of this process."""
        return self._socket("listen", host=host, port=port)

    def connect(self, host: str, port: int, timeout: float = 5) -> socket.socket:
        """Connect from this namespace; `timeout` is in seconds, for the connection and for the socket."""
        connected = self._socket("connect", host=host, port=port, timeout=timeout)
        connected.settimeout(timeout)
        return connected

    def http(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5,
    ) -> Response:
        """Ask an HTTP server from this namespace; OSError if there is none, any status is an answer."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self.connect(host, port, timeout)
        with connection.sock:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path or "/", body, dict(headers or {}))
            response = connection.getresponse()
            return Response(response.status, response.read())

    def _socket(self, call: str, **arguments: Any) -> socket.socket:
        fds: list[int] = []
        self._holder.call(call, received=fds, **arguments)
        return socket.socket(fileno=fds[0])

    def _start(self, spec: Spec, stdin: Stream, stdout: Stream, stderr: Stream) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            # -S: nothing of site-packages is needed to enter, and start-up is faster without.
            [sys.executable, "-S", "-m", "tests.netns.enter", spec.to_json()],
            cwd=ROOT,
            env={},
            pass_fds=[fd for fd in (spec.user, spec.net) if fd is not None],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            # A Ctrl-C ends it through `close`, in order.
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def _completed(self, process: subprocess.Popen[bytes], timeout: float) -> Completed:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            end(process)
            self._processes.remove(process)
        return Completed(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def _spec(self, argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> Spec:
        return Spec(
            parent=os.getpid(),
            argv=[str(part) for part in argv],
            env=dict(env),
            cwd=str(cwd),
            user=self._user,
            net=self._net,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, three seconds, SIGKILL; reaps it and closes its pipes."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
