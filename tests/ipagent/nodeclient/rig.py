"""A node, pods beside it, and the real `ipagent` in them, with the node agent as backend."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.agent_settings import (
    ENV_HOST_IP,
    ENV_NODE_NAME,
    ENV_POD_NAME,
    ENV_POD_NAMESPACE,
    ENV_POD_UID,
    AgentSettings,
    Backend,
)
from common.token_bucket import Rate
from ipagent.cli import ENV_STARTED_FILE, ENV_TOKEN_FILE
from ipagent.node.sessions.limits import Limits
from tests import programs
from tests.ipagent.agent_rig import AgentProcess, Ended, wait_for
from tests.ipagent.nodeclient.gate import NODE, POD, Gate, token_of
from tests.netns import Node, Pod

MAC = "02:aa:00:00:00:01"
PORT = 9407
LIMITS = Limits(connects=Rate(1000, 1000))


class SlimStage:
    """One node; its agent's port is free until a test opens a gate on it."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node = node
        self.directory = directory
        directory.chmod(0o755)
        self.token = directory / "token"
        self.token.write_text(token_of(POD) + "\n")
        self._numbers = itertools.count(1)

    def pod(self, *addresses: str) -> Pod:
        made = self.node.pod()
        made.add_interface("net1", mac=MAC, addresses=addresses)
        return made

    def gate(self, **arguments: Any) -> Gate:
        arguments.setdefault("limits", LIMITS)
        return Gate(self.node.listen(self.node.address, PORT), **arguments)

    def env(self, settings: AgentSettings | None = None, **changes: str | None) -> dict[str, str]:
        given: dict[str, str | None] = {
            "PATH": f"{programs.FOLDER}:/usr/bin:/bin",
            **(settings or slim()).to_env(),
            ENV_POD_NAME: POD.name,
            ENV_POD_NAMESPACE: POD.namespace,
            ENV_POD_UID: POD.uid,
            ENV_NODE_NAME: NODE,
            ENV_HOST_IP: self.node.address,
            ENV_STARTED_FILE: str(self.directory / "run" / "started"),
            ENV_TOKEN_FILE: str(self.token),
            **changes,
        }
        return {name: value for name, value in given.items() if value is not None}

    def start(
        self,
        mode: str,
        pod: Pod,
        settings: AgentSettings | None = None,
        *,
        program: Sequence[str] = ("ipagent",),
        env: Mapping[str, str | None] | None = None,
    ) -> Running:
        """Start `ipagent init` or `sidecar`; what it says can be read while it runs."""
        run = self.directory / "run"
        run.mkdir(exist_ok=True)
        run.chmod(0o777)
        number = next(self._numbers)
        message = self.directory / f"termination-{number}.log"
        message.write_text("")
        message.chmod(0o666)
        output = self.directory / f"agent-{number}.log"
        given = self.env(settings, **(env or {}))
        with output.open("wb") as stderr:
            process = pod.popen([*program, mode], env=given, stderr=stderr, termination_log=message)
        return Running(pod, process, env=given, log=message, output=output)

    def init(
        self,
        pod: Pod,
        settings: AgentSettings | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> Ended:
        """Run `ipagent init` to its end."""
        return self.start("init", pod, settings, env=env).wait()


class Running(AgentProcess):
    """An agent that runs, or has ended."""

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    def wait_for_event(self, event: str, times: int = 1) -> dict[str, Any]:
        """Wait until it has logged an event so many times; returns the last."""
        what = f"the event {event} x {times} while it lives"
        wait_for(lambda: len(self.events(event)) >= times or self.process.poll() is not None, what)
        found = self.events(event)
        assert len(found) >= times, self.lines()
        return found[times - 1]

    def wait(self) -> Ended:
        """Wait for the end."""
        ended = super().wait()
        assert ended.lines[-1]["message"] == ended.message
        return ended


def slim(**settings: Any) -> AgentSettings:
    """Return settings as the webhook writes them for the backend `node`."""
    return AgentSettings(**{"interfaces": ("net1",), "backend": Backend.NODE, **settings})
