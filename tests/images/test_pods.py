"""The image's agent in pods, against EC2's double."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.agent_container import STARTED_FILE, TERMINATION_LOG
from common.exit_codes import ExitCode
from ipagent.cli import ENV_STARTED_FILE
from tests.cluster.waiting import wait_for
from tests.images.conftest import need
from tests.images.container import SMALL, Container, Image
from tests.ipagent import worlds
from tests.ipagent.agent_rig import Ended, Stage
from tests.ipagent.worlds import ENI_1, MAC_1, NEIGHBOUR_PRIMARY
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

pytestmark = pytest.mark.netns


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> Stage:  # noqa: F811 - the fixture
    need("runc")
    return Stage(node, worlds.world(ipv6=True), tmp_path)


class InPod:
    """The agent's container in a pod with net1, and what it writes to, as the kubelet gives it."""

    def __init__(self, stage: Stage, container: Container, *addresses: str) -> None:
        self.pod = stage.node.pod()
        self.pod.add_interface("net1", mac=MAC_1, addresses=addresses)
        # Those of the image count, not those of these tests.
        self.env = stage.env(PATH=None, **{ENV_STARTED_FILE: None})
        self._log = stage.directory / "termination-log"
        run = stage.directory / "run"
        self._log.touch()
        run.mkdir()
        for path, mode in ((self._log, 0o666), (run, 0o777)):
            path.chmod(mode)
        container.network = self.pod.network
        container.writable |= {
            TERMINATION_LOG: self._log,
            str(Path(STARTED_FILE).parent): run,
        }

    def ended(self, code: int, stderr: str) -> Ended:
        return Ended(code, [json.loads(line) for line in stderr.splitlines()], self._log.read_text())


def test_init_assigns_the_pods_addresses(agent: Image, container: Container, stage: Stage) -> None:
    at = InPod(stage, container, "10.10.1.80/24", "2001:db8:1::80/64")

    done = container.run(agent, ["ipagent", "init"], env=at.env, limits=SMALL, timeout=180)

    ended = at.ended(done.returncode, done.stderr)
    assert (ended.code, done.stdout) == (ExitCode.OK, ""), done.stderr
    assert ended.message == f"Assigned: 10.10.1.80, 2001:db8:1::80 on {ENI_1}."
    assert (stage.secondaries(ENI_1), stage.ipv6s(ENI_1)) == (["10.10.1.80"], ["2001:db8:1::80"])


def test_init_says_why_an_address_cannot_be_had(agent: Image, container: Container, stage: Stage) -> None:
    at = InPod(stage, container, f"{NEIGHBOUR_PRIMARY}/24")

    done = container.run(agent, ["ipagent", "init"], env=at.env, limits=SMALL, timeout=180)

    ended = at.ended(done.returncode, done.stderr)
    assert ended.code not in {ExitCode.OK, 1}
    assert NEIGHBOUR_PRIMARY in ended.message
    assert "Traceback" not in done.stderr


def test_a_sidecar_starts_follows_the_pods_addresses_and_ends(
    agent: Image, container: Container, stage: Stage
) -> None:
    at = InPod(stage, container, "10.10.1.80/24")

    with container.running(agent, ["ipagent", "sidecar"], env=at.env, limits=SMALL) as sidecar:
        wait_for(lambda: sidecar.exec("ipagent", "started").returncode == 0, "sidecar that has started", 180)
        assert stage.secondaries(ENI_1) == ["10.10.1.80"]
        at.pod.add_address("net1", "10.10.1.81/24")
        wait_for(lambda: "10.10.1.81" in stage.secondaries(ENI_1), "10.10.1.81 on the ENI", 180)
        done = sidecar.end()

    assert at.ended(done.returncode, done.stderr).code == ExitCode.OK
