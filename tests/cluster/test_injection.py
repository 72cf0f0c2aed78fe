"""What the API server stores: `multus-eni serve` behind its configuration, decided by policy."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.agent_container import CONTAINER_NAME, RUN_VOLUME
from common.pod_keys import INJECTION, MODE, STATUS
from tests.cluster.api import POD, Api, ApiError
from tests.cluster.configuration import Entry, any_of, configuration_of
from tests.cluster.manifests import container, deployment, multus_pod
from tests.cluster.namespaces import Namespaces, agent_of, mode_of, names_of
from tests.cluster.recording_webhook import RecordingWebhook
from tests.cluster.waiting import wait_for
from tests.cluster.webhook import IMAGE, WebhookServer, installed

pytestmark = pytest.mark.cluster

ENABLED = {INJECTION: "enabled"}
DISABLED = {INJECTION: "disabled"}

SECURITY_CONTEXT = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsGroup": 65534,
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}
ENVIRONMENT = [
    {"name": "MULTUS_ENI_CONTRACT", "value": "1"},
    {"name": "MULTUS_ENI_INTERFACES", "value": "net1"},
    {"name": "MULTUS_ENI_GUESSED_INTERFACES", "value": "net1"},
    {"name": "MULTUS_ENI_TIMEOUT", "value": "120s"},
    {"name": "MULTUS_ENI_TAKEOVER", "value": "always"},
    {"name": "MULTUS_ENI_RELEASE_ON_EXIT", "value": "false"},
    {"name": "MULTUS_ENI_ALLOWED_CIDRS"},
    {"name": "MULTUS_ENI_CREDENTIALS", "value": "chain"},
    {"name": "MULTUS_ENI_BACKEND", "value": "direct"},
    {"name": "MULTUS_ENI_NODE_PORT", "value": "9407"},
    {"name": "MULTUS_ENI_RESTART_POLICY", "value": "Always"},
    {"name": "MULTUS_ENI_LOG_LEVEL", "value": "info"},
    {"name": "MULTUS_ENI_LOG_FORMAT", "value": "auto"},
    *(
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in (
            ("MULTUS_ENI_POD_NAME", "metadata.name"),
            ("MULTUS_ENI_POD_NAMESPACE", "metadata.namespace"),
            ("MULTUS_ENI_POD_UID", "metadata.uid"),
            ("MULTUS_ENI_NODE_NAME", "spec.nodeName"),
            ("MULTUS_ENI_HOST_IP", "status.hostIP"),
        )
    ),
    {"name": "AWS_REGION", "value": "eu-central-1"},
]
INIT_AGENT = {
    "name": "multus-eni-agent",
    "image": IMAGE,
    "imagePullPolicy": "IfNotPresent",
    "command": ["ipagent", "init"],
    "env": ENVIRONMENT,
    "resources": {},
    "securityContext": SECURITY_CONTEXT,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "FallbackToLogsOnError",
}
SIDECAR_AGENT = {
    **INIT_AGENT,
    "command": ["ipagent", "sidecar"],
    "restartPolicy": "Always",
    "startupProbe": {
        "exec": {"command": ["ipagent", "started", "--wait=20"]},
        "periodSeconds": 1,
        "timeoutSeconds": 30,
        "failureThreshold": 8,
        "successThreshold": 1,
    },
    "volumeMounts": [{"name": "multus-eni-run", "mountPath": "/run/multus-eni"}],
}
AGENTS = {"init": INIT_AGENT, "sidecar": SIDECAR_AGENT}


@pytest.mark.parametrize(
    ("namespace_labels", "pod_labels", "mode"),
    [
        pytest.param({}, {}, None, id="nobody asks"),
        pytest.param(ENABLED, {}, "init", id="namespace enabled"),
        pytest.param(DISABLED, {}, None, id="namespace disabled"),
        pytest.param(ENABLED, DISABLED, None, id="pod out of an enabled namespace"),
        pytest.param(DISABLED, ENABLED, "init", id="pod in a disabled namespace"),
        pytest.param({}, ENABLED, "init", id="pod alone"),
        pytest.param({**ENABLED, MODE: "sidecar"}, {}, "sidecar", id="namespace sidecar"),
        pytest.param({**ENABLED, MODE: "init"}, {}, "init", id="namespace init"),
        pytest.param({**DISABLED, MODE: "sidecar"}, ENABLED, "sidecar", id="pod with its namespace's mode"),
        pytest.param({MODE: "sidecar"}, {}, None, id="a mode alone opts nothing in"),
        pytest.param({INJECTION: "yes"}, ENABLED, "init", id="pod label before a wrong namespace label"),
        pytest.param({INJECTION: "yes", MODE: "x"}, DISABLED, None, id="opted out of a wrong namespace"),
    ],
)
def test_labels_decide_whether_and_how(
    namespaces: Namespaces, namespace_labels: dict[str, str], pod_labels: dict[str, str], mode: str | None
) -> None:
    namespace = namespaces.make(namespace_labels)
    namespace.create(multus_pod(labels=pod_labels))
    assert mode_of(namespace.pod("app")) == mode


@pytest.mark.parametrize(
    ("namespace_mode", "annotation"),
    [(None, "init"), (None, "sidecar"), ("init", "sidecar"), ("sidecar", "init")],
)
def test_the_mode_annotation_wins(
    namespaces: Namespaces, namespace_mode: str | None, annotation: str
) -> None:
    namespace = namespaces.make(ENABLED | ({MODE: namespace_mode} if namespace_mode else {}))
    namespace.create(multus_pod(annotations={MODE: annotation}))
    assert mode_of(namespace.pod("app")) == annotation


@pytest.mark.parametrize("mode", AGENTS)
def test_the_stored_agent_is_exactly_this(namespaces: Namespaces, mode: str) -> None:
    namespace = namespaces.make(ENABLED)
    own = container("own-init", command=["true"])
    namespace.create(multus_pod(annotations={MODE: mode}, initContainers=[own]))
    stored = namespace.pod("app")
    assert agent_of(stored) == AGENTS[mode]
    assert names_of(stored["spec"]["initContainers"]) == [CONTAINER_NAME, "own-init"]
    status = json.loads(stored["metadata"]["annotations"][STATUS])
    assert (status["mode"], status["reason"], status["image"]) == (mode, f"inject_{mode}", IMAGE)


def test_a_sidecar_gets_a_memory_volume_beside_the_pods_own(namespaces: Namespaces) -> None:
    namespace = namespaces.make({**ENABLED, MODE: "sidecar"})
    namespace.create(multus_pod(volumes=[{"name": "own", "emptyDir": {}}]))
    assert namespace.pod("app")["spec"]["volumes"] == [
        {"name": "own", "emptyDir": {}},
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]


def test_the_rest_of_the_pod_is_unchanged(namespaces: Namespaces) -> None:
    namespace = namespaces.make(ENABLED)
    rich = multus_pod(
        annotations={"example.com/note": "a/b~c"},
        containers=[
            container("a", ports=[{"containerPort": 80}]),
            container("b", env=[{"name": "X", "value": ""}]),
        ],
        initContainers=[container("own", restartPolicy="Always")],
        volumes=[{"name": "own", "emptyDir": {}}],
        tolerations=[{"operator": "Exists"}],
    )
    without = copy.deepcopy(rich)
    without["metadata"].update(name="without", labels=DISABLED)
    left_alone = namespace.create(without).object
    injected = namespace.create(rich).object
    assert mode_of(injected) == "init"
    injected["spec"]["initContainers"].pop(0)
    del injected["metadata"]["annotations"][STATUS]
    assert injected["spec"] == left_alone["spec"]
    assert injected["metadata"]["annotations"] == left_alone["metadata"]["annotations"]


def test_every_pod_of_a_deployment_is_injected(namespaces: Namespaces) -> None:
    namespace = namespaces.make(ENABLED)
    manifest = deployment()
    namespace.create(manifest)
    wanted = manifest["spec"]["replicas"]
    pods = wait_for(
        lambda: found if len(found := namespace.pods("app=busybox")) == wanted else None,
        f"{wanted} pods of the Deployment",
    )
    for stored in pods:
        assert stored["metadata"]["generateName"].startswith("busybox-deployment-")
        assert stored["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
        assert mode_of(stored) == "init"
        assert names_of(stored["spec"]["containers"]) == ["busybox"]


def test_a_dry_run_shows_the_agent_and_stores_nothing(namespaces: Namespaces, api: Api) -> None:
    namespace = namespaces.make(ENABLED)
    assert mode_of(namespace.create(multus_pod(), dry_run=True).object) == "init"
    with pytest.raises(ApiError) as missing:
        api.get(POD, "app", namespace.name)
    assert missing.value.code == 404


@pytest.fixture
def other_injector(api: Api, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Another injector, called after ours, that puts its init container first; for namespaces labelled so."""
    labels = {"tests.multus-eni.io/other-injector": "enabled"}
    add = {"op": "add", "path": "/spec/initContainers/0", "value": container("proxy-init")}
    with RecordingWebhook(tmp_path, patch=[add]) as server:
        labelled = tuple(any_of(key, value) for key, value in labels.items())
        entry = Entry("other.example.com", "/mutate", namespace=labelled, pod=())
        configuration = configuration_of([entry], server.service, name="other-injector")
        configuration["webhooks"][0]["reinvocationPolicy"] = "Never"
        probed = Namespaces(api, "none", "probe").make(labels)

        def called() -> bool:
            probed.create(multus_pod("probe", initContainers=[container("own")]), dry_run=True)
            return bool(server.calls(probed.name, "probe"))

        with installed(api, configuration, called):
            yield labels


@pytest.mark.parametrize("mode", AGENTS)
def test_the_agent_is_first_again_after_another_injector(
    namespaces: Namespaces, webhook: WebhookServer, other_injector: dict[str, str], mode: str
) -> None:
    namespace = namespaces.make({**ENABLED, **other_injector, MODE: mode})
    stored = namespace.create(multus_pod(initContainers=[container("own")])).object
    assert names_of(stored["spec"]["initContainers"]) == [CONTAINER_NAME, "proxy-init", "own"]
    assert agent_of(stored) == AGENTS[mode]
    assert webhook.reasons(namespace.name, "app") == [f"inject_{mode}", "already_injected"]
