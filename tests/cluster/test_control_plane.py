"""The control plane itself, apart from what the webhook does with it."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest

from tests.cluster.api import POD, Api, ApiError, Kind
from tests.cluster.certificates import Authority
from tests.cluster.conftest import NOBODY
from tests.cluster.control_plane import ControlPlane
from tests.cluster.manifests import container, pod
from tests.cluster.namespaces import Namespaces
from tests.cluster.processes import ProcessError
from tests.cluster.tools import Binaries
from tests.cluster.tools.binaries import TOOLS
from tests.cluster.waiting import wait_for
from tests.http_client import TransportError

pytestmark = pytest.mark.cluster

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
NETWORK = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition")
CONFIG_MAP = Kind("v1", "ConfigMap")


@pytest.fixture
def plain(api: Api) -> Namespaces:
    """Makes namespaces that no webhook looks at."""
    return Namespaces(api, "none", "plain")


def test_a_built_api_server_says_which_release_it_is(api: Api, binaries: Binaries) -> None:
    version = json.loads(api.raw("/version"))
    tool = TOOLS["kube-apiserver"]
    if binaries["kube-apiserver"] != tool.built():
        assert re.fullmatch(r"v1\.\d+\..*", version["gitVersion"])
    else:
        assert version["gitVersion"] == tool.module.version
        assert f"v{version['major']}.{version['minor']}." in tool.module.version


def test_a_start_that_fails_shows_the_log_and_leaves_nothing(
    binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    wrong = ControlPlane(binaries, apiserver_flags=["--no-such-flag"])
    with pytest.raises(ProcessError, match="unknown flag: --no-such-flag"), wrong:
        pytest.fail("it started")
    assert list(tmp_path.iterdir()) == []


def test_a_user_has_the_rights_of_its_group(control_plane: ControlPlane) -> None:
    with (
        control_plane.client(NOBODY) as client,
        pytest.raises(ApiError, match='User "nobody" cannot list resource "pods"') as refused,
    ):
        client.list(POD, "default")
    assert refused.value.code == 403


def test_a_stranger_is_not_let_in(control_plane: ControlPlane) -> None:
    with Api(control_plane.url, "wrong", control_plane.ca) as stranger, pytest.raises(ApiError) as refused:
        stranger.list(POD, "default")
    assert refused.value.code == 401


def test_the_client_trusts_no_other_ca(control_plane: ControlPlane, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(Authority().pem)
    with (
        Api(control_plane.url, control_plane.admin.token, other) as client,
        pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.raw("/version")


def test_apply_creates_and_changes_labels_set_and_remove_delete_deletes(plain: Namespaces, api: Api) -> None:
    namespace = plain.make().name
    config: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "labels": {"a": "1"}},
    }
    assert api.apply(config, namespace, dry_run=True).object["metadata"]["name"] == "settings"
    assert api.apply(config, namespace).object.get("data") is None
    assert api.apply({**config, "data": {"key": "new"}}, namespace).object["data"] == {"key": "new"}
    labelled = api.label(CONFIG_MAP, "settings", {"a": None, "b": "2"}, namespace)
    assert labelled["metadata"]["labels"] == {"b": "2"}
    assert [each["metadata"]["name"] for each in api.list(CONFIG_MAP, namespace, "b=2")] == ["settings"]
    assert api.list(CONFIG_MAP, namespace, "a") == []
    api.delete(CONFIG_MAP, "settings", namespace)
    with pytest.raises(ApiError) as missing:
        api.get(CONFIG_MAP, "settings", namespace)
    assert (missing.value.code, missing.value.reason) == (404, "NotFound")


def test_the_api_servers_own_warnings_come_back(plain: Namespaces) -> None:
    twice = container(env=[{"name": "X", "value": '"1"'}, {"name": "X", "value": "2"}])
    (warning,) = plain.make().create(pod(containers=[twice])).warnings
    assert warning.startswith("spec.containers[0].env[1]: hides previous definition of")
    assert '"X"' in warning


def test_a_kind_that_is_defined_later_is_found(plain: Namespaces, api: Api) -> None:
    network = {
        "apiVersion": NETWORK.api_version,
        "kind": NETWORK.kind,
        "metadata": {"name": "ipvlan-multus"},
        "spec": {"config": "{}"},
    }
    namespace = plain.make().name
    with pytest.raises(ApiError):
        api.create(network, namespace)
    names = {"kind": NETWORK.kind, "plural": "network-attachment-definitions", "singular": "nad"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    api.create(
        {
            "apiVersion": CRD.api_version,
            "kind": CRD.kind,
            "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
            "spec": {
                "group": "k8s.cni.cncf.io",
                "names": names,
                "scope": "Namespaced",
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
    )

    def created() -> bool:
        try:
            api.create(network, namespace)
        except ApiError as error:
            return error.reason == "AlreadyExists"
        return True

    wait_for(created, "NetworkAttachmentDefinition")
    assert api.get(NETWORK, "ipvlan-multus", namespace)["spec"] == {"config": "{}"}


def test_the_controllers_run(plain: Namespaces, api: Api) -> None:
    namespace = plain.make().name

    def root_ca() -> list[object]:
        return [
            each for each in api.list(CONFIG_MAP, namespace) if each["metadata"]["name"] == "kube-root-ca.crt"
        ]

    assert wait_for(root_ca, "ConfigMap kube-root-ca.crt")
