"""How `ipagent node status` asks the agent of the node: by a socket in its folder, which nobody else reads.

A port would tell every pod of the node which addresses the others have.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ipagent.log import Log

SOCKET = "status.sock"
TIMEOUT = 10.0
MAX_ANSWER = 16 << 20


class NotRunning(Exception):
    """No agent answers; the text says where it was looked for, and what to do."""


class StatusServer:
    """Gives `answer()` to everyone who connects, from `with` to the end of its block.

    Where the socket can't be made, that is told, and the agent works all the same.
    """

    def __init__(self, folder: Path, answer: Callable[[], dict[str, Any]], log: Log) -> None:
        self._path = folder / SOCKET
        self._answer = answer
        self._log = log
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def __enter__(self) -> Self:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # What an agent that was killed has left.
            with suppress(FileNotFoundError):
                self._path.unlink()
            before = os.umask(0o177)
            try:
                listener.bind(str(self._path))
            finally:
                os.umask(before)
            listener.listen(4)
        except OSError as error:
            listener.close()
            self._log.warning("no-status", message=f"{self._path} can't be made: {error.strerror or error}")
            return self
        self._socket = listener
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._socket.close()
            with suppress(OSError):
                self._path.unlink()

    def _serve(self) -> None:
        listener = self._socket
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(TIMEOUT)
                connection.sendall(json.dumps(self._answer()).encode())


def ask(folder: Path) -> dict[str, Any]:
    """Ask the agent that has this folder; raises NotRunning."""
    path = folder / SOCKET
    parts = []
    size = 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            while part := connection.recv(1 << 16):
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER:
                    raise NotRunning(f"what answers at {path} is no agent: it does not stop")
        found = json.loads(b"".join(parts))
    except (OSError, ValueError) as error:
        raise NotRunning(
            f"no agent answers at {path}: {error}. Ask in the agent's own pod: "
            "kubectl exec -n NAMESPACE POD -- ipagent node status"
        ) from None
    if not isinstance(found, dict):
        raise NotRunning(f"what answers at {path} is no agent")
    return found
