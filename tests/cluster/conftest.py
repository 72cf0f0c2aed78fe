"""The control plane, once for all tests here, and the webhooks that it calls.

Where its programs are missing the tests are skipped with a sentence that says what to do; with
MULTUS_ENI_NO_SKIP=1 in the environment they fail instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION
from tests.cluster.api import Api, ApiError
from tests.cluster.certificates import Authority
from tests.cluster.configuration import Service, webhook_configuration
from tests.cluster.control_plane import ControlPlane, free_ports, make_user
from tests.cluster.manifests import multus_pod
from tests.cluster.namespaces import Namespaces, names_of, scope
from tests.cluster.recording_webhook import RecordingWebhook
from tests.cluster.tools import Binaries
from tests.cluster.webhook import WebhookServer, installed
from tests.skipping import programs

ENABLED = {INJECTION: "enabled"}
NOBODY = make_user("nobody", group="no-rights")


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    return programs()


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    with ControlPlane(binaries, users=[NOBODY]) as running:
        yield running
        running.check()


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> Iterator[Api]:
    with control_plane.client() as client:
        yield client


@pytest.fixture(scope="session")
def webhook(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookServer]:
    """`multus-eni serve`, called for the namespaces of the fixture `namespaces`."""
    with WebhookServer(tmp_path_factory.mktemp("webhook")) as server:
        probed = Namespaces(api, "serve", "probe").make(ENABLED)

        def called() -> bool:
            pod = probed.create(multus_pod(), dry_run=True).object
            return CONTAINER_NAME in names_of(pod["spec"].get("initContainers"))

        configuration = webhook_configuration(server.service, scope=scope("serve"))
        with installed(api, configuration, called):
            yield server


@pytest.fixture
def namespaces(api: Api, webhook: WebhookServer, request: pytest.FixtureRequest) -> Namespaces:
    """Makes namespaces whose pods are sent to `multus-eni serve` as its configuration says."""
    webhook.process.check()
    return Namespaces(api, "serve", _prefix(request))


@pytest.fixture(scope="session")
def recorder(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordingWebhook]:
    """A webhook that only records, called for the namespaces of the fixture `recorded`."""
    with RecordingWebhook(tmp_path_factory.mktemp("recorder")) as server:
        probed = Namespaces(api, "recorder", "probe").make(ENABLED)

        def called() -> bool:
            probed.create(multus_pod("probe"), dry_run=True)
            return bool(server.calls(probed.name, "probe"))

        configuration = webhook_configuration(server.service, name="recorder", scope=scope("recorder"))
        with installed(api, configuration, called):
            yield server


@pytest.fixture
def recorded(api: Api, recorder: RecordingWebhook, request: pytest.FixtureRequest) -> Namespaces:  # noqa: ARG001
    """Makes namespaces whose pods are sent to the recorder as the webhook's configuration says."""
    return Namespaces(api, "recorder", _prefix(request))


@pytest.fixture(scope="session")
def stopped_webhook(api: Api) -> Iterator[None]:
    """A configuration for a webhook that nobody answers for, called for the namespaces of `unserved`."""
    (port,) = free_ports("127.0.0.1")
    nobody = Service(f"https://127.0.0.1:{port}", Authority("nobody").pem)
    probed = Namespaces(api, "stopped", "probe").make(ENABLED)

    def called() -> bool:
        try:
            probed.create(multus_pod(), dry_run=True)
        except ApiError as error:
            return "failed calling webhook" in error.message
        return False

    with installed(api, webhook_configuration(nobody, name="stopped", scope=scope("stopped")), called):
        yield


@pytest.fixture
def unserved(api: Api, stopped_webhook: None, request: pytest.FixtureRequest) -> Namespaces:  # noqa: ARG001
    """Makes namespaces whose webhook is down."""
    return Namespaces(api, "stopped", _prefix(request))


def _prefix(request: pytest.FixtureRequest) -> str:
    """Make a namespace's name that says which test it belongs to."""
    name = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")
    return str(name)[:40].strip("-")
