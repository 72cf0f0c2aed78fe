"""The release that the stories share, and a user's namespace for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.pod_keys import INJECTION
from tests.cluster.api import NAMESPACE, SERVICE_ACCOUNT
from tests.cluster.mounts import CONFIG_MAP
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_release import Release, release_on
from tests.skipping import programs

NEEDED = ((SERVICE_ACCOUNT, "default"), (CONFIG_MAP, "kube-root-ca.crt"))
"""What each pod needs, and the controller-manager makes in each namespace."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def installed(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Release]:
    """The chart with the built images, for stories that change its values: the first `upgrade` installs it.

    Where the stories of the installation run, too, it is uninstalled. Else it ends with the cluster.
    """
    found = release_on(cluster, helm4())
    yield found
    if any(item.path.name == "test_story_install.py" for item in request.session.items):
        found.uninstall()


@pytest.fixture
def release(installed: Release) -> Release:
    """The chart with its defaults, whatever the story before has changed."""
    installed.upgrade({})
    return installed


def helm4() -> Path:
    """Return Helm; without it the test is skipped."""
    return programs(["helm4"])["helm4"]


@pytest.fixture
def story(cluster: Cluster, release: Release, request: pytest.FixtureRequest) -> Iterator[Story]:  # noqa: ARG001
    """A namespace that is opted in."""
    name = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")
    with opted_in(cluster, f"{name[:40].strip('-')}-{next(_numbers)}") as found:
        yield found


@contextmanager
def opted_in(cluster: Cluster, name: str) -> Iterator[Story]:
    """Make a namespace and label it, as a user does; it goes with everything in it."""
    metadata = {"name": name, "labels": {INJECTION: "enabled"}}
    cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    story = Story(cluster, name)
    story.wait(lambda: all(story.has(kind, each) for kind, each in NEEDED), f"what pods need in {name}")
    try:
        yield story
    finally:
        cluster.api.delete(NAMESPACE, name)
