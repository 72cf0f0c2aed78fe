"""The agent with a second implementation of EC2, moto: what works with the double is not the double's alone.

moto accepts nearly everything, so this shows that requests and answers are understood, and no more. Its
IMDS can't be used (no list of MACs): the node's is the double's, which knows the ENI but not its addresses,
so that only moto's own answer can confirm them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from tests.cluster.serving import ThreadedServer
from tests.ipagent import worlds
from tests.ipagent.agent_rig import Stage
from tests.ipagent.aws.moto_account import node_with_eni, secondaries
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

pytestmark = pytest.mark.netns

PORT = 8081


@dataclass(frozen=True, slots=True)
class Moto:
    """moto's server: `url` is where the node reaches it, `ec2` a client for the test itself."""

    url: str
    ec2: EC2Client


@pytest.fixture
def moto(node: Node) -> Iterator[Moto]:  # noqa: F811 - the fixture
    """Serve moto on the node, and on this machine for the test: importing it once more would take 2 s."""
    app = DomainDispatcherApplication(create_backend_app)
    with (
        node.listen(node.address, PORT) as listening,
        ThreadedServer(make_server(node.address, PORT, app, threaded=True, fd=listening.fileno())),
        ThreadedServer(here := make_server("127.0.0.1", 0, app, threaded=True)),
    ):
        ec2 = boto3.client(
            "ec2",
            endpoint_url=f"http://127.0.0.1:{here.port}",
            region_name=worlds.REGION,
            aws_access_key_id=worlds.KEY,
            aws_secret_access_key=worlds.SECRET,
        )
        yield Moto(f"http://{node.address}:{PORT}", ec2)
        ec2.close()


@pytest.fixture
def made(moto: Moto) -> dict[str, Any]:
    return node_with_eni(moto.ec2)


@pytest.fixture
def stage(made: dict[str, Any], node: Node, tmp_path: Path) -> Stage:  # noqa: F811 - the fixture
    """A node whose IMDS names moto's instance and ENI, and never an address of a pod on it."""
    world = worlds.world(id=made["instance"])
    known = {"id": made["eni"], "mac": made["mac"], "primary": made["primary"]}
    interfaces = world["instances"][0]["interfaces"]
    world["instances"][0]["interfaces"] = [interfaces[0], interfaces[1] | known]
    return Stage(node, world, tmp_path)


def test_an_address_is_assigned_described_and_released(
    made: dict[str, Any], moto: Moto, stage: Stage
) -> None:
    pod = stage.node.pod()
    pod.add_interface("net1", mac=made["mac"], addresses=["10.10.1.80/24", "10.10.1.81/24"])
    settings = AgentSettings(interfaces=("net1",), release_on_exit=True)
    sidecar = stage.sidecar(pod, settings, AWS_ENDPOINT_URL_EC2=moto.url)
    sidecar.wait_until_started()
    assert sorted(secondaries(moto.ec2, made["eni"])) == ["10.10.1.80", "10.10.1.81"]
    ended = sidecar.end()
    assert (ended.code, secondaries(moto.ec2, made["eni"])) == (ExitCode.OK, [])
