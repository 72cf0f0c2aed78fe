"""The control plane and the webhook in a network namespace of their own, the webhook behind a Service."""

from __future__ import annotations

import json
import os
import sys

import pytest

from common.agent_container import CONTAINER_NAME
from tests.cluster.namespaces import names_of
from tests.cluster.tools import Binaries
from tests.cluster.waiting import SCENARIO_SECONDS
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

pytestmark = [pytest.mark.cluster, pytest.mark.netns]


def test_a_webhook_behind_a_service_is_called_without_kube_proxy(
    binaries: Binaries,  # noqa: ARG001 - skips where they are missing
    node: Node,  # noqa: F811 - the fixture
) -> None:
    argv = [sys.executable, "-m", "tests.cluster.service_webhook", node.address]
    done = node.run(argv, env=dict(os.environ), timeout=SCENARIO_SECONDS)
    assert done.returncode == 0, done.stderr
    assert names_of(json.loads(done.stdout)["spec"]["initContainers"]) == [CONTAINER_NAME]
