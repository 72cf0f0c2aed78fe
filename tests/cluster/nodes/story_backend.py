"""The release with the node agent: what differs in its values, and what the node agents say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.api import POD
from tests.cluster.helm import NAMESPACE, RELEASE
from tests.cluster.nodes.story import Running, Story
from tests.cluster.nodes.story_cloud import Held
from tests.cluster.nodes.story_release import Release
from tests.cluster.nodes.workloads import DAEMON_SET

AGENT = f"{RELEASE}-node"
LABELS = "app.kubernetes.io/component=node-agent"
GRANTED = "granted"
GRANTS_AND_GC = {
    "grants": {GRANTED: {"cidrs": ["10.10.1.96/29"], "takeover": True}},
    "gc": {"mode": "on", "cooldown": "30s", "interval": "10s"},
}
"""Values of the node agent, with a grant for the namespace GRANTED: for stories that share a release."""


def node_values(release: Release, **node_agent: Any) -> dict[str, Any]:
    """Make the values of the backend `node`; its agents call EC2, and pods need to know nothing of AWS."""
    return {
        "agent": {"backend": "node", "env": []},
        "nodeAgent": {
            "extraEnv": release.values["agent"]["env"],
            "logFormat": "json",
            **node_agent,
        },
    }


@dataclass(frozen=True, slots=True)
class Callers:
    """Who calls EC2 for pods: a field of the journal's calls (tests/doubles/journal.py), and its values."""

    field: str
    expected: frozenset[str]

    def of(self, calls: Iterable[Mapping[str, Any]]) -> frozenset[str]:
        """Return who has made these calls."""
        return frozenset(call[self.field] for call in calls)


class NodeAgents:
    """Node agents; `story` is that of the release's own namespace."""

    def __init__(self, story: Story) -> None:
        self.story = story

    def pods(self) -> dict[str, Running]:
        """Return the agents' pods by node."""
        found = [Running(each) for each in self.story.api.list(POD, NAMESPACE, LABELS)]
        return {each.node: each for each in found if not each.leaving}

    def status(self, node: str) -> dict[str, Any]:
        """Return what `ipagent node status` says on a node."""
        name = self.pods()[node].name
        text = self.story.exec(name, "ipagent", "node", "status", "--output=json", container="node-agent")
        found: dict[str, Any] = json.loads(text)
        return found

    def addresses(self, node: str, namespace: str) -> Held:
        """Return the addresses that `ipagent node status` shows for a namespace's pods on a node."""
        found = self.status(node)["addresses"]
        return frozenset(
            (each["eni"], each["address"]) for each in found if each["pod"].startswith(f"{namespace}/")
        )

    def wait_rolled_out(self) -> list[Running]:
        """Wait until the newest agent runs on every node; returns their pods."""
        return self.story.wait_rolled_out(DAEMON_SET, AGENT)

    def log(self, node: str) -> list[dict[str, Any]]:
        """Return the lines of the agent's log on a node."""
        text = self.story.logs(self.pods()[node].name, "node-agent")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
