"""The process that a network namespace lives in: `python -m tests.netns.holder FD here|forks`.

`here` is the namespace that it is started in. With `forks` it makes none, but forks a process for each node
that is asked for: what it imports takes ten times as long as all the rest.

A holder serves requests from a socket until the other end is closed: for interfaces (`Links`), for sockets
made in its namespace, and for a child that holds a pod's namespace in the same way. A request is one JSON
object in one packet, `{"call": name, ...arguments}`; the answer is `{"result": ...}` or `{"error": text}`,
and a socket travels beside it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from tests.netns import kernel
from tests.netns.links import Links
from tests.netns.rights import explain

PACKET = 1 << 16


class Holder:
    """Answers the requests that come over one socket."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._links = Links()
        # What is sent beside an answer is closed here afterwards: the receiver holds it then.
        self._sent: list[socket.socket] = []

    def serve(self) -> None:
        """Serve until nobody holds the other end."""
        while True:
            packet, fds, _, _ = socket.recv_fds(self._requests, PACKET, 1)
            if not packet:
                return
            answer = self._answer(json.loads(packet), fds)
            socket.send_fds(self._requests, [json.dumps(answer).encode()], [s.fileno() for s in self._sent])
            for sent in self._sent:
                sent.close()
            self._sent.clear()

    def _answer(self, request: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        name = request.pop("call")
        try:
            if name == "fork":
                return {"result": self._fork(fds[0], **request)}
            if name in ("listen", "connect"):
                self._sent.append(getattr(self, f"_{name}")(**request))
                return {"result": None}
            return {"result": getattr(self._links, name)(**request)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker raises it
            return {"error": f"{type(error).__name__}: {error}"}

    def _fork(self, fd: int, kind: str) -> int:
        """Fork a holder with a network namespace of its own that serves `fd`; answers its pid.

        With the kind `user` it is root of a user namespace, too.
        """
        pid = os.fork()
        if pid:
            os.close(fd)
            return pid
        try:
            self._requests.close()
            requests = socket.socket(fileno=fd)
            try:
                if kind == "user":
                    kernel.new_user_namespace(0, also=kernel.CLONE_NEWNET)
                else:
                    kernel.unshare(kernel.CLONE_NEWNET)
                holder = Holder(requests)
            except OSError as error:
                requests.send(json.dumps({"error": explain(error)}).encode())
                return 0
            requests.send(b'{"result": null}')
            holder.serve()
        finally:
            # Never back into the parent's frames.
            os._exit(0)

    def _listen(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=128)
        # Accepted sockets inherit it; asyncio does not set it on sockets that it has not made itself.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening

    def _connect(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((host, port), timeout=timeout)


def main() -> None:
    """Say that it is there, serve."""
    # A Ctrl-C is for the program that uses the namespaces; it ends them by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Holders that were forked end by themselves, and nobody here waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = socket.socket(fileno=int(sys.argv[1]))
    holder = Holder(requests)
    requests.send(b'{"result": null}')
    holder.serve()


if __name__ == "__main__":
    main()
