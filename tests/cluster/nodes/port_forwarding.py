"""Ports of 127.0.0.1 that lead into a cluster's namespaces."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.cluster.nodes import tcp_forwarder
from tests.cluster.nodes.sandbox import Sandbox


class PortForwarding:
    """Ports of 127.0.0.1 outside, by name, that lead to addresses inside."""

    def __init__(self, outer: Sandbox, targets: Mapping[str, str]) -> None:
        self._outer = outer
        self._targets = targets
        self._exit = ExitStack()
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack, ExitStack() as ours:
            # Listening goes on in the process that inherits the sockets.
            sockets = {
                name: ours.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
                for name in self._targets
            }
            self.ports = {name: listening.getsockname()[1] for name, listening in sockets.items()}
            pairs = [f"{sockets[name].fileno()}={target}" for name, target in self._targets.items()]
            numbers = [listening.fileno() for listening in sockets.values()]
            argv = [sys.executable, "-I", "-S", tcp_forwarder.__file__, *pairs]
            stack.enter_context(self._outer.process("forward", argv, pass_fds=numbers))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()
