"""A release of the chart with the built images on the real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api import POD
from tests.cluster.helm import CHART, NAMESPACE, RELEASE, Helm, Values, merged
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story import SECONDS, Story
from tests.cluster.nodes.story_pods import Running

WEBHOOK = RELEASE
CERTS = f"{RELEASE}-certs"
PROCESS_SECONDS = SECONDS + 30
"""Longer than Helm waits by itself: it says what it has waited for."""
WAIT = ("-n", NAMESPACE, "--wait", f"--timeout={SECONDS:.0f}s")


@dataclass(slots=True)
class Release:
    """A release of the chart, which is installed by the first `upgrade`; `helm` is how it is changed.

    `mode` is the agent's where nobody asks for another. `there`: whether it has been installed. `changed` are
    the values that differ now, None where that is not known.
    """

    helm: Helm
    values: dict[str, Any]
    story: Story
    """The release's own namespace."""
    mode: str = "init"
    there: bool = False
    changed: Values | None = None

    def upgrade(self, values: Values) -> None:
        """Install it as docs/install.md says, or have these values differ, and no others.

        Waits until only the new pods are there.
        """
        if values == self.changed:
            return
        self.changed = None
        command = ("upgrade",) if self.there else ("install", "--create-namespace")
        self.there = True
        self.helm.run(
            *command, RELEASE, CHART, *WAIT, values=merged(self.values, values), timeout=PROCESS_SECONDS
        )
        # Helm waits for the new ones; old ones answer the API server until they have drained.
        self.story.wait(lambda: not self._leaving(), "end of the old pods")
        self.changed = values

    def _leaving(self) -> list[str]:
        found = [Running(each) for each in self.story.api.list(POD, NAMESPACE)]
        return [each.name for each in found if each.leaving]

    def uninstall(self) -> None:
        """Remove it, where it has been installed, and wait until its pods are gone."""
        if self.there:
            self.helm.run("uninstall", RELEASE, "--ignore-not-found", *WAIT, timeout=PROCESS_SECONDS)

    def test(self) -> str:
        """Run the chart's own test; returns what Helm says. Raises HelmError where it fails."""
        return self.helm.run(
            "test", RELEASE, "-n", NAMESPACE, f"--timeout={SECONDS:.0f}s", timeout=PROCESS_SECONDS
        )


def release_on(cluster: Cluster, program: Path, values: Values | None = None) -> Release:
    """Return a release that is still to be installed; `program` is Helm."""
    return Release(
        cluster.helm(program), merged(cluster.agent_values(), values or {}), Story(cluster, NAMESPACE)
    )


@contextmanager
def released(
    cluster: Cluster, program: Path, values: Values | None = None, *, uninstall: bool = True
) -> Iterator[Release]:
    """Install the chart for the length of a block; `program` is Helm.

    Without `uninstall` it ends with the cluster, which takes no time.
    """
    release = release_on(cluster, program, values)
    try:
        release.upgrade({})
        yield release
    finally:
        if uninstall:
            release.uninstall()
