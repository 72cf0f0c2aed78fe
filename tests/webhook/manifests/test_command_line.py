"""`multus-eni inject` and `explain` as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.agent_container import CONTAINER_NAME
from common.pod_keys import STATUS

PROGRAM = str(Path(sys.executable).with_name("multus-eni"))
EXAMPLES = Path(__file__).parents[3] / "examples"
DEPLOYMENT = (EXAMPLES / "busybox-deployment.yaml").read_text(encoding="utf-8")
SERVICE = "# mine\napiVersion: v1\nkind: Service\nmetadata: {name: s}   # stays\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text("agent: {image: 'registry.example/ipagent:1.0', imagePullSecrets: [registry]}")
    return file


def run(*arguments: str | Path, stdin: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments, "-f", "-"], check=False, capture_output=True, text=True, input=stdin, timeout=60
    )


def template(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["template"]
    return found


def test_a_deployment_gets_the_agent_and_nothing_else(config: Path) -> None:
    done = run("inject", "--config", config, stdin=DEPLOYMENT)
    assert done.returncode == 0, done.stderr
    before, after = yaml.safe_load(DEPLOYMENT), yaml.safe_load(done.stdout)
    (agent,) = template(after)["spec"].pop("initContainers")
    assert (agent["name"], agent["command"]) == (CONTAINER_NAME, ["ipagent", "init"])
    del template(after)["metadata"]["annotations"][STATUS]
    assert after == before
    # Secrets in a manifest would displace those of the ServiceAccount.
    assert "imagePullSecrets" in done.stderr


def test_what_is_not_touched_stays_byte_for_byte(config: Path) -> None:
    for stream in (SERVICE, f"{SERVICE}---\n{SERVICE}", "# nothing\n"):
        assert run("inject", "--config", config, stdin=stream).stdout == stream
    done = run("inject", "--config", config, stdin=f"{SERVICE}---\n{DEPLOYMENT}")
    assert done.stdout.startswith(SERVICE)


def test_injected_twice_is_injected_once(config: Path) -> None:
    once = run("inject", "--config", config, stdin=DEPLOYMENT).stdout
    assert run("inject", "--config", config, stdin=once).stdout == once


def test_json_stays_json(config: Path) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(DEPLOYMENT)]})
    done = run("inject", "--config", config, stdin=document)
    (item,) = json.loads(done.stdout)["items"]
    assert template(item)["spec"]["initContainers"][0]["name"] == CONTAINER_NAME


def test_a_refusal_writes_nothing_and_is_said(config: Path) -> None:
    wrong = DEPLOYMENT.replace("ipvlan-multus", "ipvlan-multus\n        multus-eni.io/mode: sidcar")
    done = run("inject", "--config", config, stdin=f"{SERVICE}---\n{wrong}")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "multus-eni.io/mode: 'sidcar' is not allowed" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "inject_init"),
        (["--namespace-mode", "sidecar"], "inject_sidecar"),
        (["--namespace-injection", "disabled"], "opted_out"),
        (["--namespace-injection", "unset"], "not_opted_in"),
    ],
)
def test_explain_gives_the_webhooks_reasons(options: list[str], reason: str) -> None:
    done = run("explain", "--output", "json", *options, stdin=DEPLOYMENT)
    (found,) = json.loads(done.stdout)
    assert (found["kind"], found["namespace"], found["name"]) == (
        "Deployment",
        "multus",
        "busybox-deployment",
    )
    assert (found["reason"], found["injected"]) == (reason, reason.startswith("inject"))
    assert found["networks"] == [{"namespace": "multus", "name": "ipvlan-multus", "interface": "net1"}]
    assert (found["warnings"], found["refusal"]) == ([], None)


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    file = tmp_path / "networks.json"
    file.write_text(json.dumps({"networks": {"multus/ipvlan-multus": "oam"}}))
    return file


def test_explain_names_what_pods_request_and_what_is_in_no_network(networks: Path) -> None:
    several = DEPLOYMENT.replace("ipvlan-multus", "ipvlan-multus,other")
    said = run("explain", "--networks", networks, stdin=several).stdout
    assert "\n    requests: multus-eni.io/oam: 1\n" in said
    assert (
        "\n    without a request: multus/other is in no NodeNetwork that nodes advertise: annotate it" in said
    )
    (found,) = json.loads(run("explain", "--output", "json", "--networks", networks, stdin=several).stdout)
    assert (found["requests"], found["withoutRequest"]) == ({"multus-eni.io/oam": "1"}, ["multus/other"])
    assert "request" not in run("explain", stdin=several).stdout


def test_explain_names_the_elastic_ips_that_pods_claim() -> None:
    claiming = DEPLOYMENT.replace("ipvlan-multus", "ipvlan-multus\n        multus-eni.io/eip: net1=pool/sip")
    assert (
        "\n    Elastic IPs: net1 pool/sip, if controller.eips grants" in run("explain", stdin=claiming).stdout
    )
    (found,) = json.loads(run("explain", "--output", "json", stdin=claiming).stdout)
    assert found["elasticIPs"] == {"net1": "pool/sip"}
    assert "Elastic" not in run("explain", stdin=DEPLOYMENT).stdout


def test_a_manifest_gets_its_requests(config: Path, networks: Path) -> None:
    done = run("inject", "--config", config, "--networks", networks, stdin=DEPLOYMENT)
    (agent,) = template(yaml.safe_load(done.stdout))["spec"]["initContainers"]
    assert agent["resources"]["requests"] == agent["resources"]["limits"] == {"multus-eni.io/oam": "1"}


def test_units_that_fit_no_single_network_are_refused(config: Path, networks: Path) -> None:
    networks.write_text(json.dumps({"networks": {"multus/ipvlan-multus": "oam", "multus/other": "sig"}}))
    several = DEPLOYMENT.replace("ipvlan-multus", "ipvlan-multus,other\n        multus-eni.io/units: '2'")
    done = run("inject", "--config", config, "--networks", networks, stdin=several)
    assert done.returncode != 0
    assert "the pod attaches to the networks oam, sig: say how many of which, as in oam=2" in done.stderr


def test_a_namespace_in_the_input_brings_its_own_labels() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "multus"}}
    stream = f"{yaml.safe_dump(namespace)}---\n{DEPLOYMENT}"
    (found,) = json.loads(run("explain", "--output", "json", stdin=stream).stdout)
    assert found["reason"] == "not_opted_in"


def pods(**labels: str) -> str:
    namespace = {"kind": "Namespace", "metadata": {"name": "multus", "labels": labels}}
    spec = template(yaml.safe_load(DEPLOYMENT))
    metadata = {**spec["metadata"], "name": "p", "namespace": "multus"}
    pod = {"kind": "Pod", "metadata": metadata, "spec": spec["spec"], "status": {"phase": "Running"}}
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace, pod]})


def test_only_missing_finds_the_pods_that_should_have_an_agent() -> None:
    done = run("explain", "--only-missing", stdin=pods(**{"multus-eni.io/injection": "enabled"}))
    assert done.returncode == 3
    assert "multus/p" in done.stdout
    content = run("explain", "--only-missing", stdin=pods())
    assert (content.returncode, content.stdout) == (0, "")


@pytest.mark.parametrize("stream", ["a: [", "{", "[" * 10_000, "\x00"])
def test_what_is_no_manifest_is_said_in_a_sentence(config: Path, stream: str) -> None:
    done = run("inject", "--config", config, stdin=stream)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
