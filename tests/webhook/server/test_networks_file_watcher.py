"""The file by which the controller tells which definition is in which network, as the webhook reads it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.webhook.core.test_cases import review
from tests.webhook.pods import applied
from webhook.core.namespace_policy import ROUTES
from webhook.server.app import reload_networks
from webhook.server.handler import AdmissionHandler
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.server.networks_file_watcher import NetworksWatcher
from webhook.settings_file import MAX_FILE_SIZE, parse_settings

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "annotations": {"k8s.v1.cni.cncf.io/networks": "oam-a"}},
    "spec": {"containers": [{"name": "app", "image": "i"}]},
}


class Served:
    """A handler and the file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.log = io.BytesIO()
        self.watcher = NetworksWatcher(file)
        settings = parse_settings("agent: {image: i}")
        self.handler = AdmissionHandler(settings, Log(stream=self.log), Metrics())
        self.handler.set_networks({})

    def requests(self) -> dict[str, Any]:
        """Look at the file, and return what the agent of a new pod requests."""
        reload_networks(self.watcher, self.handler)
        body = self.handler.handle(review(POD, "apps"), ROUTES["/mutate/namespace/default"])
        operations = json.loads(base64.b64decode(json.loads(body)["response"]["patch"]))
        container = applied(POD, operations)["spec"]["initContainers"][0]
        found: dict[str, Any] = container.get("resources", {}).get("requests", {})
        return found


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path / "networks.json")


def test_pods_request_what_the_newest_file_says(served: Served) -> None:
    assert served.requests() == {}
    served.file.write_text(json.dumps({"networks": {"apps/oam-a": "oam"}}))
    assert served.requests() == {"multus-eni.io/oam": "1"}
    served.file.write_text(json.dumps({"networks": {"apps/oam-a": "sig"}}))
    assert served.requests() == {"multus-eni.io/sig": "1"}
    served.file.write_text(json.dumps({"networks": {}}))
    assert served.requests() == {}
    assert served.log.getvalue().count(b"networks_loaded") == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"networks": {"a/b": 1}}',
        "{",
        '{"networks": {}}' + " " * MAX_FILE_SIZE,
        "\\x00",
        '{"x": ' + "[" * 100_000,
    ],
    ids=["empty", "a list", "a number", "cut off", "too large", "a NUL", "deep"],
)
def test_a_file_that_cant_be_read_changes_nothing_and_is_logged_once(served: Served, text: str) -> None:
    served.file.write_text(json.dumps({"networks": {"apps/oam-a": "oam"}}))
    assert served.requests() == {"multus-eni.io/oam": "1"}
    served.file.write_text(text)
    for _ in range(3):
        assert served.requests() == {"multus-eni.io/oam": "1"}
    assert served.log.getvalue().count(b"networks_unusable") == 1
