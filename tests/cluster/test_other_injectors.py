"""Other injectors on the same API server: the agent stays first, and is changed by nobody but as it should.

The EKS pod-identity webhook is the real one: its program, `piw` or `piw.xz`, is looked for in the folder that
MULTUS_ENI_PEERS_DIR or PEERS_DIR names (github.com/aws/amazon-eks-pod-identity-webhook, `go build`).
"""

from __future__ import annotations

import copy
import json
import lzma
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION, MODE, STATUS
from tests.cluster.api import Api, Manifest
from tests.cluster.configuration import NAME, Entry, any_of, configuration_of
from tests.cluster.manifests import container, multus_pod
from tests.cluster.namespaces import Namespaces, agent_of, names_of
from tests.cluster.pod_identity import MODES, ORDERS, ROLE, SPECS, TOKEN_VOLUME, has_credentials
from tests.cluster.recording_webhook import RecordingWebhook
from tests.cluster.tools import Binaries
from tests.cluster.waiting import SCENARIO_SECONDS
from tests.cluster.webhook import WebhookServer, installed
from tests.netns import Node, require
from tests.skipping import skip

pytestmark = pytest.mark.cluster

FOLDERS = ("MULTUS_ENI_PEERS_DIR", "PEERS_DIR")
PROGRAM = "piw"


@pytest.fixture(scope="module")
def pod_identity_webhook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, unpacked where it is packed."""
    folder = next((os.environ[name] for name in FOLDERS if os.environ.get(name)), None)
    if folder is None:
        skip(f"set {FOLDERS[0]} to the folder with {PROGRAM} or {PROGRAM}.xz, the EKS pod-identity webhook")
    plain, packed = Path(folder, PROGRAM), Path(folder, f"{PROGRAM}.xz")
    if plain.exists():
        return plain
    if not packed.exists():
        skip(f"{folder} has neither {PROGRAM} nor {PROGRAM}.xz, the EKS pod-identity webhook")
    program = tmp_path_factory.mktemp("peers") / PROGRAM
    with lzma.open(packed) as file:
        program.write_bytes(file.read())
    program.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def beside_pod_identity(
    binaries: Binaries,  # noqa: ARG001 - skips where they are missing
    pod_identity_webhook: Path,
) -> dict[str, dict[str, Manifest]]:
    """What the API server made of each pod, by order of the two webhooks."""
    require()
    with Node() as node:
        argv: list[str | Path] = [sys.executable, "-m", "tests.cluster.pod_identity", pod_identity_webhook]
        done = node.run(argv, env=dict(os.environ), timeout=SCENARIO_SECONDS)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Manifest]] = json.loads(done.stdout)
    return found


@pytest.mark.netns
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ORDERS)
def test_the_pod_identity_webhook_gives_credentials_to_the_agent_too(
    beside_pod_identity: dict[str, dict[str, Manifest]], order: str, mode: str, spec: str
) -> None:
    found = beside_pod_identity[order][f"{mode}, {spec}"]
    init, apps = found["spec"]["initContainers"], found["spec"]["containers"]
    assert [has_credentials(each) for each in (*init, *apps)] == [True] * len((*init, *apps))
    assert names_of(init) == [CONTAINER_NAME, *names_of(SPECS[spec].get("initContainers"))]
    assert names_of(apps) == names_of(SPECS[spec]["containers"])
    assert names_of(found["spec"]["volumes"]).count(TOKEN_VOLUME) == 1


@pytest.mark.netns
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ORDERS)
def test_the_agent_is_the_same_beside_the_pod_identity_webhook(
    beside_pod_identity: dict[str, dict[str, Manifest]], namespaces: Namespaces, order: str, mode: str
) -> None:
    name = "init containers and a sidecar"
    namespace = namespaces.make({INJECTION: "enabled", MODE: mode})
    alone = agent_of(namespace.create(multus_pod(**copy.deepcopy(SPECS[name])), dry_run=True).object)
    found = beside_pod_identity[order][f"{mode}, {name}"]
    agent = agent_of(found)
    assert agent is not None
    role = next(variable for variable in agent["env"] if variable["name"] == "AWS_ROLE_ARN")
    assert role["value"] == ROLE
    agent["env"] = [each for each in agent["env"] if each["name"] not in _added(agent)]
    agent["volumeMounts"] = [each for each in agent["volumeMounts"] if each["name"] != TOKEN_VOLUME]
    assert {**agent, "volumeMounts": agent["volumeMounts"] or None} == {"volumeMounts": None, **(alone or {})}
    assert json.loads(found["metadata"]["annotations"][STATUS])["mode"] == mode
    assert found["status"]["qosClass"] == "Guaranteed"


def _added(agent: Manifest) -> set[str]:
    added = set(names_of(agent["env"]))
    return {name for name in added if name.startswith("AWS_") and name != "AWS_REGION"}


OTHERS: dict[str, dict[str, Any]] = {
    "prepends": {"op": "add", "path": "/spec/initContainers/0", "value": container("other")},
    "appends": {"op": "add", "path": "/spec/initContainers/-", "value": container("other")},
    "prepends a sidecar": {
        "op": "add",
        "path": "/spec/initContainers/0",
        "value": container("other", restartPolicy="Always"),
    },
    "adds a container": {"op": "add", "path": "/spec/containers/0", "value": container("other")},
}
NAMES = {"before ours": "a-other", "after ours": "z-other"}
assert NAMES["before ours"] < NAME < NAMES["after ours"]


@contextmanager
def other_injector(api: Api, folder: Path, other: str, position: str) -> Iterator[dict[str, str]]:
    """Install another injector; yields the labels of namespaces that it looks at."""
    labels = {"tests.multus-eni.io/peer": f"{NAMES[position]}-{list(OTHERS).index(other)}"}
    folder.mkdir()
    with RecordingWebhook(folder, patch=[OTHERS[other]]) as server:
        selected = tuple(any_of(key, value) for key, value in labels.items())
        entry = Entry("other.example.com", "/mutate", namespace=selected, pod=())
        configuration = configuration_of([entry], server.service, name=NAMES[position])
        configuration["webhooks"][0]["reinvocationPolicy"] = "Never"
        probed = Namespaces(api, "none", "probe").make(labels)

        def called() -> bool:
            probed.create(multus_pod("probe", initContainers=[container("own")]), dry_run=True)
            return bool(server.calls(probed.name, "probe"))

        with installed(api, configuration, called):
            yield labels


@pytest.mark.parametrize("position", NAMES)
@pytest.mark.parametrize("other", OTHERS)
def test_the_agent_is_first_whatever_another_injector_does(
    webhook: WebhookServer,
    namespaces: Namespaces,
    tmp_path: Path,
    other: str,
    position: str,
) -> None:
    with other_injector(namespaces.api, tmp_path / "other", other, position) as labels:
        for mode in MODES:
            namespace = namespaces.make({INJECTION: "enabled", MODE: mode, **labels})
            plain = namespaces.make({INJECTION: "enabled", MODE: mode})
            pod = multus_pod(initContainers=[container("own")])
            stored = namespace.create(copy.deepcopy(pod)).object
            names = names_of(stored["spec"]["initContainers"])
            assert names[0] == CONTAINER_NAME
            theirs = ["own", "other"] if other == "appends" else ["other", "own"]
            assert names[1:] == (["own"] if other == "adds a container" else theirs)
            assert agent_of(stored) == agent_of(plain.create(copy.deepcopy(pod)).object)
            assert webhook.reasons(namespace.name, "app")[0] == f"inject_{mode}"
            webhook.process.check()
