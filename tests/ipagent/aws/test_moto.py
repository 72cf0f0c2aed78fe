"""The agent with a second implementation of EC2, moto: what works with the double is not the double's alone.

moto accepts nearly everything, so this shows that requests and answers are understood, and no more. Its
IMDS can't be used (no list of MACs): the node's is the double's, which knows the ENI but not its addresses,
so that only moto's own answer can confirm them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import Stage, wait_for
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

pytestmark = pytest.mark.netns

PORT = 8081


@pytest.fixture
def moto(node: Node) -> str:  # noqa: F811 - the fixture
    """Start moto on the node; returns its URL."""
    server = node.popen([sys.executable, "-m", "moto.server", "-H", node.address, "-p", str(PORT)])
    url = f"http://{node.address}:{PORT}"

    def answers() -> bool:
        assert server.poll() is None, "moto's server has ended"
        try:
            return node.http("GET", f"{url}/moto-api/").status == 200
        except OSError:
            return False

    wait_for(answers, "moto's server")
    return url


def account(node: Node, *arguments: str) -> Any:  # noqa: F811 - the fixture
    done = node.run([sys.executable, "-m", "tests.ipagent.aws.moto_account", *arguments])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def made(moto: str, node: Node) -> dict[str, Any]:  # noqa: F811 - the fixture
    found: dict[str, Any] = account(node, moto)
    return found


@pytest.fixture
def stage(made: dict[str, Any], node: Node, tmp_path: Path) -> Stage:  # noqa: F811 - the fixture
    """A node whose IMDS names moto's instance and ENI, and never an address of a pod on it."""
    world = worlds.world(id=made["instance"])
    known = {"id": made["eni"], "mac": made["mac"], "primary": made["primary"]}
    interfaces = world["instances"][0]["interfaces"]
    world["instances"][0]["interfaces"] = [interfaces[0], interfaces[1] | known]
    return Stage(node, world, tmp_path)


def test_an_address_is_assigned_described_and_released(made: dict[str, Any], moto: str, stage: Stage) -> None:
    pod = stage.node.pod()
    pod.add_interface("net1", mac=made["mac"], addresses=["10.10.1.80/24", "10.10.1.81/24"])
    settings = AgentSettings(interfaces=("net1",), release_on_exit=True)
    sidecar = stage.sidecar(pod, settings, AWS_ENDPOINT_URL_EC2=moto)
    sidecar.wait_until_started()
    assert sorted(account(stage.node, moto, made["eni"])) == ["10.10.1.80", "10.10.1.81"]
    ended = sidecar.end()
    assert (ended.code, account(stage.node, moto, made["eni"])) == (ExitCode.OK, [])
