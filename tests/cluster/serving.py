"""Servers of the tests that run in a thread of this process."""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType
from typing import Self


class ThreadedServer:
    """Serves from `with` to the end of its block."""

    def __init__(self, server: socketserver.BaseServer) -> None:
        self._serving = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serving.shutdown()
        self._thread.join()
        self.close_connections()
        self._serving.server_close()

    def close_connections(self) -> None:
        """End connections that would not end by themselves: server_close waits for their threads."""
