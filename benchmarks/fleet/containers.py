"""The backend node's injected containers, all in one process: `python -m benchmarks.fleet.containers`.

Each speaks the protocol of `ipagent init` with its node agent (ipagent/node_protocol.py), from an address of
its own, with a token that the API server has given out for its pod: connect, state the addresses, wait for
the status, which has the exit code. Made up is the kernel; that as many interpreters have to start is left
out. One whose connection ends is connected again after a back-off, as there.

The first line on stdin is a JSON object: `containers`, objects with the keys of Container, and `patience`,
for how many seconds each of them tries. After the second line, whatever it says, they begin; a line on stdout
says that all have stated their addresses, and the last one is an object: `ended`, a list of lists of a pod's
name, exit code and monotonic seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from common.agent_settings import CONTRACT, AgentSettings, Mode
from common.exit_codes import ExitCode
from common.open_files_limit import raise_descriptor_limit
from common.version import VERSION
from ipagent import node_protocol
from ipagent.node_protocol import ProtocolError, Refusal, ResponseParser, StatementKey
from ipagent.nodeclient.session import FINAL, FIRST_PACE

SETTINGS = AgentSettings(interfaces=("net1",))


@dataclass(frozen=True, slots=True)
class Container:
    """A pod's container: who it is, where its node agent listens, and what it sees in its namespace.

    `source` is the address that it connects from: node agents limit connections by it.
    """

    namespace: str
    name: str
    uid: str
    token: str
    host: str
    port: int
    source: str
    mac: str
    address: str

    def statement(self) -> dict[str, Any]:
        """Return what it states."""
        links = [
            {
                StatementKey.INDEX: 1,
                StatementKey.NAME: "lo",
                StatementKey.MAC: "",
                StatementKey.LOOPBACK: True,
            },
            {
                StatementKey.INDEX: 2,
                StatementKey.NAME: "eth0",
                StatementKey.MAC: "0a:00:00:00:00:02",
                StatementKey.LOOPBACK: False,
            },
            {
                StatementKey.INDEX: 3,
                StatementKey.NAME: "net1",
                StatementKey.MAC: self.mac,
                StatementKey.LOOPBACK: False,
            },
        ]
        return {
            StatementKey.CONTRACT: CONTRACT,
            StatementKey.MODE: Mode.INIT,
            StatementKey.POD: {
                StatementKey.NAMESPACE: self.namespace,
                StatementKey.NAME: self.name,
                StatementKey.UID: self.uid,
            },
            StatementKey.INTERFACES: SETTINGS.interfaces,
            StatementKey.TAKEOVER: SETTINGS.takeover,
            StatementKey.RELEASE_ON_EXIT: SETTINGS.release_on_exit,
            StatementKey.ALLOWED_CIDRS: SETTINGS.allowed_cidrs,
            StatementKey.AGAIN: [],
            StatementKey.LINKS: links,
            StatementKey.ADDRESSES: [
                {
                    StatementKey.INDEX: 3,
                    StatementKey.ADDRESS: self.address,
                    StatementKey.SCOPE: 0,
                    StatementKey.FLAGS: 0,
                }
            ],
            StatementKey.SERIAL: 1,
        }


class Run:
    """All containers of a job."""

    def __init__(self, containers: list[Container], patience: float) -> None:
        self._containers = containers
        self._patience = patience
        self._unstated = {each.name for each in containers}

    async def live(self) -> list[tuple[str, int, float]]:
        """Let all of them live to their end; returns how each ended."""
        return await asyncio.gather(*map(self._live, self._containers))

    async def _live(self, container: Container) -> tuple[str, int, float]:
        end = time.monotonic() + self._patience
        pause, longest = FIRST_PACE
        code: int = ExitCode.NODE_AGENT_UNREACHABLE
        while time.monotonic() < end:
            try:
                code = await asyncio.wait_for(self._session(container), end - time.monotonic())
                break
            except (OSError, ProtocolError, TimeoutError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        return container.name, code, time.monotonic()

    async def _session(self, container: Container) -> int:
        """Serve one connection; returns the exit code.

        Raises OSError or ProtocolError where it ends before.
        """
        reader, writer = await asyncio.open_connection(
            container.host, container.port, local_addr=(container.source, 0)
        )
        try:
            authority = f"{container.host}:{container.port}"
            writer.write(node_protocol.request(authority, container.token, VERSION))
            writer.write(node_protocol.chunk(container.statement()))
            await writer.drain()
            self._stated(container)
            return await _exit_code(reader)
        finally:
            writer.close()

    def _stated(self, container: Container) -> None:
        if container.name in self._unstated:
            self._unstated.remove(container.name)
            if not self._unstated:
                print(json.dumps("stated"), flush=True)


async def _exit_code(reader: asyncio.StreamReader) -> int:
    parser = ResponseParser()
    while True:
        data = await reader.read(1 << 16)
        for answer in parser.feed(data):
            if isinstance(answer, Refusal):
                if answer.status in FINAL:
                    return ExitCode.NOT_GRANTED
                raise ProtocolError(answer.text)
            if answer.state != node_protocol.PENDING:
                return answer.code
        if not data:
            raise ConnectionResetError("the node agent has closed the connection")


def main() -> None:
    """Run the job."""
    raise_descriptor_limit()
    job = json.loads(sys.stdin.readline())
    run = Run([Container(**each) for each in job["containers"]], job["patience"])
    sys.stdin.readline()
    print(json.dumps({"ended": asyncio.run(run.live())}), flush=True)


if __name__ == "__main__":
    main()
