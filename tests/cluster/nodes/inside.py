"""What runs in a cluster's namespaces beside control plane and nodes, and the way in from outside."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.nodes import forward
from tests.cluster.nodes.plan import EC2_PORT, GATEWAY, IMDS
from tests.cluster.nodes.sandbox import Sandbox
from tests.cluster.processes import Process


class Doorway:
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
            argv = [sys.executable, "-I", "-S", forward.__file__, *pairs]
            stack.enter_context(self._outer.process("forward", argv, pass_fds=numbers))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()


def doubles(outer: Sandbox, world: Mapping[str, object]) -> Process:
    """Make the process that is EC2 and IMDS for everything inside."""
    file = outer.folder / "world.json"
    file.write_text(json.dumps(world), encoding="utf-8")
    argv = [sys.executable, "-m", "tests.doubles", f"--world={file}"]
    return outer.process("doubles", [*argv, f"--ec2={GATEWAY}:{EC2_PORT}", f"--imds={IMDS}:80"])


def serves(process: Process) -> bool:
    """Tell whether the doubles have said that they listen."""
    return '"imds"' in Path(process.log).read_text(encoding="utf-8")
