"""A connection of a pod to the session server, as tests write and read it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Self

from common.token_bucket import Rate
from ipagent import node_protocol
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.limits import Limits
from ipagent.node_protocol import ClaimStatus, Refusal, ResponseParser
from tests.ipagent.nodeclient.gate import POD, Gate, token_of

OTHER = PodKey("apps", "pod-2", "8d6b6f0e-0000-4000-8000-000000000002")


FREE = Limits(
    per_peer=1000,
    connects=Rate(10_000, 10_000),
    statements=Rate(10_000, 10_000),
    reading=Rate(1 << 40, 1 << 40),
)


SECONDS = 20.0


MakeGate = Callable[..., Gate]


def statement(pod: PodKey = POD, serial: int = 1, **more: Any) -> dict[str, Any]:
    who = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
    return {"contract": 1, "serial": serial, "mode": "sidecar", "pod": who, "interfaces": ["net1"], **more}


NET1: dict[str, Any] = {
    "links": [{"index": 3, "name": "net1", "mac": "02:aa:00:00:00:01"}],
    "addresses": [{"index": 3, "address": "10.10.1.80"}],
}


class Peer:
    """A pod's connection; the slim client's own reader takes what it is told."""

    def __init__(self, gate: Gate) -> None:
        self.socket = socket.create_connection(gate.address, timeout=SECONDS)
        self.answers = ResponseParser()
        self._heard: list[Refusal | ClaimStatus] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> None:
        self.socket.sendall(b"".join(data))

    def ask(self, pod: PodKey = POD, token: str | None = None, **more: Any) -> None:
        shown = token_of(pod) if token is None else token
        self.send(node_protocol.request("here", shown, "test"), node_protocol.chunk(statement(pod, **more)))

    def receive(self) -> Refusal | ClaimStatus:
        """Return the next thing that it is told; EOFError at the end."""
        while not self._heard:
            data = self.socket.recv(1 << 16)
            self._heard.extend(self.answers.feed(data))
            if not data and not self._heard:
                raise EOFError
        return self._heard.pop(0)

    def standing(self) -> ClaimStatus:
        heard = self.receive()
        assert isinstance(heard, ClaimStatus), heard.text
        return heard

    def refusal(self) -> Refusal:
        heard = self.receive()
        assert isinstance(heard, Refusal)
        return heard

    def ends(self) -> bool:
        """Whether it is ended by the other side, after whatever is said before."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionResetError):
            return True
