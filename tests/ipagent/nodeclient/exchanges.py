"""Recorded exchanges between a pod and the node agent: files of `tests/cases/node-protocol/`.

Each line is `>` (the pod says) or `<` (it is told), and the bytes as a JSON string.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.version import VERSION
from tests.netns import Node

CASES = Path(__file__).parents[2] / "cases" / "node-protocol"

POD, NODE = ">", "<"
Said = tuple[str, bytes]


def files(what: str = "*") -> list[Path]:
    """Return the recordings, those of the oldest release first."""
    return sorted(CASES.glob(f"*-{what}.txt"), key=lambda file: _release(file.name))


def _release(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name.partition("-")[0])))


def read(file: Path) -> list[Said]:
    """Read a recording, what one side said in one go joined."""
    said: list[Said] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        who, text = line[:1], json.loads(line[1:])
        if said and said[-1][0] == who:
            said[-1] = who, said[-1][1] + text.encode()
        else:
            said.append((who, text.encode()))
    return said


def write(what: str, said: list[Said]) -> None:
    """Write a recording of this release."""
    lines = [f"{who} {json.dumps(data.decode())}\n" for who, data in said]
    CASES.mkdir(exist_ok=True)
    (CASES / f"{VERSION}-{what}.txt").write_text("".join(lines), encoding="utf-8")


def documents(said: list[Said], who: str) -> list[dict[str, Any]]:
    """Return the JSON objects that one side said, each a line of its own."""
    whole = b"".join(data for side, data in said if side == who)
    return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]


def shape(value: Any) -> Any:
    """Reduce a JSON value to its keys and types; of a list, what its entries have together."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [json.loads(text) for text in sorted({json.dumps(shape(inner)) for inner in value})]
    return type(value).__name__


@contextmanager
def recorder(node: Node, front: tuple[str, int], back: tuple[str, int]) -> Iterator[list[Said]]:
    """Stand between the pods and their node agent, and note what both say; one connection at a time."""
    said: list[Said] = []
    listener = node.listen(*front)

    def serve() -> None:
        while True:
            try:
                pod, _ = listener.accept()
            except OSError:
                return
            with pod, node.connect(*back) as agent:
                answers = threading.Thread(target=copy, args=(NODE, agent, pod))
                answers.start()
                copy(POD, pod, agent)
                answers.join()

    def copy(who: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                said.append((who, data))
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield said
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
