"""The real cluster, once for all tests here, and namespaces in it.

Where rights, programs or images are missing the tests are skipped with a sentence that says what to do; with
MULTUS_ENI_NO_SKIP=1 in the environment they fail instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.cluster.api import NAMESPACE, SERVICE_ACCOUNT
from tests.cluster.mounts import CONFIG_MAP
from tests.cluster.namespaces import Namespace
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts, PartsMissing, find_parts
from tests.cluster.nodes.story_fixtures import installed, release, story  # noqa: F401 - fixtures
from tests.cluster.waiting import wait_for
from tests.skipping import skip

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """What a cluster is made of, for tests that bring one up of their own."""
    try:
        return find_parts(tmp_path_factory.mktemp("images"))
    except PartsMissing as missing:
        skip(missing)


@pytest.fixture(scope="session")
def cluster(parts: Parts) -> Iterator[Cluster]:
    """A cluster without our chart; whoever changes more than namespaces puts it back."""
    with Cluster(parts) as running:
        yield running
        running.check()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A new namespace without labels, deleted afterwards with all that is in it."""
    cluster.check()
    name = f"{_prefix(request)}-{next(_numbers)}"
    cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def ready() -> bool:
        accounts = [each["metadata"]["name"] for each in cluster.api.list(SERVICE_ACCOUNT, name)]
        authorities = [each["metadata"]["name"] for each in cluster.api.list(CONFIG_MAP, name)]
        return "default" in accounts and "kube-root-ca.crt" in authorities

    wait_for(ready, f"what pods need in {name}", 60)
    try:
        yield Namespace(cluster.api, name)
    finally:
        cluster.api.delete(NAMESPACE, name)


def _prefix(request: pytest.FixtureRequest) -> str:
    name = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")
    return str(name)[:40].strip("-")
