"""`ipagent node` as a process: a real API server with the chart's rights, and EC2's double over the wire."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.agent_settings import CONTRACT, ENV_HOST_IP, ENV_NODE_NAME, Mode
from common.exit_codes import ExitCode
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.model.condition import CONDITION
from ipagent.node.model.pod import MIRROR
from ipagent.node_protocol import PATH
from tests import http_client, programs
from tests.cluster.api import Api, Kind, Manifest
from tests.cluster.control_plane import ControlPlane, free_ports
from tests.cluster.namespaces import Namespaces
from tests.cluster.node_agents import (
    CONDITION_RULE,
    Script,
    make_node,
    networked,
    node_agent_kubeconfig,
    script,
    status_entry,
)
from tests.cluster.nodes.cloud import CloudControl
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for
from tests.http_client import TransportError, succeeded
from tests.ipagent.worlds import ENI_1, KEY, MAC_1, REGION, SECRET, tagged, world

pytestmark = pytest.mark.cluster

EVENT = Kind("v1", "Event")
POD = Kind("v1", "Pod")
HOST = "127.0.0.1"
PREFIX = "10.10.1.96/28"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Stage:
    """A node with its agent's settings and rights; the agent runs where a test starts it."""

    node: str
    script: Script
    cloud: CloudControl
    env: Mapping[str, str]
    folder: Path
    ports: tuple[int, int]

    @contextmanager
    def agent(self, **settings: Any) -> Iterator[Process]:
        """Run the agent, ready; its end is a SIGKILL unless the test ends it before."""
        port, health = self.ports
        config = self.folder / "node.json"
        config.write_text(json.dumps({"port": port, "healthPort": health, "logFormat": "json"} | settings))
        argv = [programs.IPAGENT, "node", f"--config={config}", f"--record={self.folder}"]
        with Process("node-agent", argv, log=self.folder / "log", env=self.env) as process:
            process.wait_until(lambda: self.answers("/readyz"), "answer of /readyz", 60)
            yield process

    def get(self, path: str) -> str:
        """Ask the agent's health port."""
        return http_client.get(f"http://{HOST}:{self.ports[1]}{path}").data.decode()

    def answers(self, path: str) -> bool:
        """Return whether the health port answers with success."""
        try:
            return succeeded(http_client.get(f"http://{HOST}:{self.ports[1]}{path}"))
        except TransportError:
            return False

    def status(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ipagent node status`."""
        argv = [programs.IPAGENT, "node", f"--record={self.folder}", "status", *arguments]
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, env={**os.environ, **self.env}
        )

    def claim(self, pod: Manifest, address: str) -> dict[str, Any]:
        """State an address as the pod's injected container does; returns the last status."""
        metadata = pod["metadata"]
        statement = {
            "contract": CONTRACT,
            "mode": Mode.INIT,
            "pod": {part: metadata[part] for part in ("namespace", "name", "uid")},
            "interfaces": ["net1"],
            "links": [{"index": 3, "name": "net1", "mac": MAC_1}],
            "addresses": [{"index": 3, "address": address}],
        }
        answer = httpx.post(
            f"http://{HOST}:{self.ports[0]}{PATH}",
            content=json.dumps(statement) + "\n",
            headers={"Authorization": f"Bearer {self.script.token(pod)}"},
            timeout=60,
            trust_env=False,
        )
        assert answer.is_success, answer.text
        last: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
        return last

    def secondaries(self) -> list[str]:
        """Return the secondary addresses that EC2 has on the pods' ENI."""
        found: list[str] = self.cloud.interface(ENI_1)["secondaries"]
        return found

    def pod(self, name: str, *addresses: str) -> None:
        """Let a pod appear on the node, with these addresses by Multus."""
        self.script.make_pod(networked(name), self.node)
        self.script.multus(name, [status_entry(*addresses, mac=MAC_1)])

    def holds(self, *addresses: str) -> None:
        """Wait until EC2 has these addresses on the ENI, and no others."""
        wait_for(lambda: sorted(self.secondaries()) == sorted(addresses), f"{addresses} on {ENI_1}", 60)


@pytest.fixture
def stage(
    control_plane: ControlPlane, api: Api, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    """A node; the parameter are the prefixes of ENI_1."""
    namespace = Namespaces(api, "none", "node-agent").make().name
    node = f"node-agent-{next(_numbers)}"
    make_node(api, node)
    file = tmp_path / "world.json"
    given = world(host_addresses=["127.0.0.1"])
    tagged(given)
    for eni in given["instances"][0]["interfaces"]:
        if eni["id"] == ENI_1:
            eni["ipv4_prefixes"] = list(getattr(request, "param", ()))
    file.write_text(json.dumps(given))
    argv: list[str | Path] = [sys.executable, "-m", "tests.doubles", "--world", file, "--log-level", "error"]
    admin = script(control_plane, namespace)
    with Process("doubles", argv, log=tmp_path / "doubles.log") as doubles:
        urls = doubles.wait_until(lambda: _urls(doubles), "line that it listens", 60)
        env = {
            "AWS_ENDPOINT_URL_EC2": urls["ec2"],
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": urls["imds"],
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "KUBECONFIG": str(node_agent_kubeconfig(control_plane, api, namespace, tmp_path, CONDITION_RULE)),
            ENV_NODE_NAME: node,
            ENV_HOST_IP: HOST,
        }
        port, health = free_ports(HOST, HOST)
        with CloudControl(urls["ec2"]) as cloud:
            yield Stage(node, admin, cloud, env, tmp_path, (port, health))
    admin.client.close()


def _urls(doubles: Process) -> dict[str, str] | None:
    line, end, _ = doubles.log.read_text(encoding="utf-8").partition("\n")
    found: dict[str, str] = json.loads(line) if end else {}
    return found or None


def test_addresses_of_pods_without_an_agent_are_assigned_and_reported(stage: Stage, api: Api) -> None:
    with stage.agent(watchOnly=True) as agent:
        stage.pod("first", "10.10.1.81")
        stage.pod("second", "10.10.1.82", "10.10.1.83")
        stage.holds("10.10.1.81", "10.10.1.82", "10.10.1.83")

        def told() -> bool:
            return any(
                "assigned 10.10.1.81 to" in e.get("message", "")
                for e in api.list(EVENT, stage.script.namespace)
            )

        wait_for(told, "Event on the pod", 60)
        wait_for(lambda: len(agent.events("assigned")) == 3, "three lines in the log", 60)
        expected = {
            'multus_eni_node_addresses{state="assigned"} 3.0',
            "multus_eni_node_assigned_total 3.0",
            "multus_eni_node_routable_seconds_count 3.0",
        }
        wait_for(lambda: expected <= set(stage.get("/metrics").splitlines()), f"metrics {expected}", 60)
        agent.end()


def test_a_pod_shows_as_a_condition_whether_its_addresses_are_assigned(stage: Stage, api: Api) -> None:
    def shown(name: str) -> tuple[str, str]:
        conditions = api.get(POD, name, stage.script.namespace)["status"].get("conditions", ())
        found = [each for each in conditions if each["type"] == CONDITION]
        return (found[0]["status"], found[0]["message"]) if found else ("", "")

    with stage.agent(watchOnly=True, podCondition=True):
        stage.pod("right", "10.10.1.92")
        stage.pod("wrong", "10.99.1.1")
        wait_for(lambda: shown("right")[0] == "True", "condition of the pod", 60)
        wait_for(lambda: shown("wrong")[0] == "False", "condition of the pod without an ENI", 60)
        assert shown("right")[1].startswith("10.10.1.92 on eni-")
        assert "10.99.1.1" in shown("wrong")[1]


def test_status_names_pods_and_addresses_for_people_and_machines(stage: Stage) -> None:
    with stage.agent():
        stage.pod("shown", "10.10.1.84")
        stage.holds("10.10.1.84")

        def assigned() -> bool:
            found = json.loads(stage.status("--output=json").stdout)
            return [each["state"] for each in found["addresses"]] == ["assigned"]

        wait_for(assigned, "status that shows the address", 60)
        text = stage.status()
        assert text.returncode == 0
        assert f"{stage.script.namespace}/shown" in text.stdout
        assert "10.10.1.84" in text.stdout
    late = stage.status()
    assert late.returncode == ExitCode.NODE_AGENT_UNREACHABLE
    assert "no agent answers" in late.stderr


def test_a_running_static_pod_keeps_its_address_when_its_mirror_is_made_anew(stage: Stage, api: Api) -> None:
    """The kubelet makes the mirror anew with another uid; the container goes on, without a word of Multus."""
    mirror = networked("static", annotations={MIRROR: "3f2a9c", "kubernetes.io/config.source": "file"})
    gc = {"mode": "on", "cooldown": "30s", "interval": "10s", "noFloatingAddresses": True}
    with stage.agent(watchOnly=True, gc=gc) as agent:
        stage.script.make_pod(mirror, stage.node)
        stage.script.multus("static", [status_entry("10.10.1.88", mac=MAC_1)])
        stage.pod("plain", "10.10.1.89")
        stage.holds("10.10.1.88", "10.10.1.89")
        for name in ("static", "plain"):
            api.delete(POD, name, stage.script.namespace)
        stage.script.make_pod(mirror, stage.node)
        # Both were left by the API at the same time: the plain pod's is reclaimed, and that is the proof.
        wait_for(lambda: agent.events("reclaimed"), "reclaim of the plain pod's address", 120)
        stage.holds("10.10.1.88")


def test_a_network_status_that_a_pods_author_writes_counts_for_nothing(stage: Stage) -> None:
    status = {NETWORK_STATUS: json.dumps([status_entry("10.10.1.90", mac=MAC_1)])}
    with stage.agent(watchOnly=True):
        stage.script.make_pod(networked("author", annotations=status), stage.node)
        stage.script.patch_status(
            "author", {"status": {"podIP": "10.10.0.90", "podIPs": [{"ip": "10.10.0.90"}]}}
        )
        stage.pod("honest", "10.10.1.91")
        stage.holds("10.10.1.91")


@pytest.mark.parametrize("stage", [[PREFIX]], indirect=True)
@pytest.mark.parametrize("faults", [[], [{"action": "*", "connection": "reset"}]], ids=["EC2", "EC2 off"])
def test_pods_in_a_prefix_of_their_eni_end_with_0_and_ec2_is_not_called(
    stage: Stage, faults: list[dict[str, str]]
) -> None:
    stage.cloud.put_faults(*faults)
    with stage.agent() as agent:
        for number in range(96, 100):
            address = f"10.10.1.{number}"
            made = stage.script.make_pod(networked(f"pod-{number}"), stage.node)
            stage.script.multus(f"pod-{number}", [status_entry(address, mac=MAC_1)])
            status = stage.claim(made, address)
            assert (status["state"], status["code"]) == ("assigned", ExitCode.OK), status
        assert [call for call in stage.cloud.journal() if call["service"] == "ec2"] == []
        agent.check()


def test_a_restarted_agent_assigns_what_came_meanwhile_and_keeps_the_rest(stage: Stage) -> None:
    with stage.agent() as agent:
        stage.pod("before", "10.10.1.85")
        stage.holds("10.10.1.85")
        agent.kill()
    stage.pod("meanwhile", "10.10.1.86")
    with stage.agent():
        stage.holds("10.10.1.85", "10.10.1.86")


def test_a_caller_without_a_pods_token_is_refused(stage: Stage) -> None:
    with stage.agent() as agent:
        answer = httpx.post(
            f"http://{HOST}:{stage.ports[0]}/", headers={"Authorization": "Bearer x"}, trust_env=False
        )
        assert 400 <= answer.status_code < 500
        agent.check()


def second_agent(stage: Stage, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run another node agent beside the stage's, with the same settings, until it ends."""
    argv = [programs.IPAGENT, "node", f"--config={stage.folder / 'node.json'}", f"--record={folder}"]
    env = {**os.environ, **stage.env}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=env)


def test_a_port_that_is_taken_is_named(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    with stage.agent():
        second = second_agent(stage, tmp_path_factory.mktemp("another"))
    assert second.returncode == ExitCode.USAGE
    assert f"port {stage.ports[0]}" in second.stderr


def test_a_second_node_agent_of_a_folder_ends_and_leaves_the_first_one_alone(stage: Stage) -> None:
    with stage.agent() as agent:
        second = second_agent(stage, stage.folder)
        agent.check()
    assert second.returncode == ExitCode.USAGE
    assert "another node agent" in second.stderr


@pytest.mark.parametrize(
    ("settings", "named"),
    [('{"gc": {"mode": "perhaps"}}', "gc.mode"), ("[]", "not a mapping"), ("{", "not JSON")],
)
def test_settings_that_are_wrong_are_refused_by_name(tmp_path: Path, settings: str, named: str) -> None:
    config = tmp_path / "node.json"
    config.write_text(settings)
    argv = [programs.IPAGENT, "node", f"--config={config}", f"--record={tmp_path}"]
    env = {**os.environ, ENV_NODE_NAME: "n", ENV_HOST_IP: HOST}
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    assert ended.returncode == ExitCode.USAGE
    assert named in ended.stderr
