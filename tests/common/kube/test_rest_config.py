"""How the cluster is found, and who we are there."""

from __future__ import annotations

import base64
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.kube.client import Client, Cluster, Endpoint
from common.kube.credentials import tls_context
from common.kube.errors import ClusterError
from common.kube.rest_config import find_cluster, pod_namespace
from tests.cluster.certificates import Authority
from tests.common.kube.fake_api import FakeApi, Reply


def ask(cluster: Cluster) -> object:
    return Client(cluster, "tests").get("/x", "read x").object


def kubeconfig(api: FakeApi, folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    path = folder / "kubeconfig"
    given = cluster or {"certificate-authority": api.ca.name}
    content = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{api.port}/prefix/", **given}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("key", ["token", "tokenFile", "exec"])
def test_a_kubeconfig_tells_the_token(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.token").write_text("secret\n", encoding="ascii")
    plugin = tmp_path / "plugin"
    answer = 'import json, os; json.loads(os.environ["KUBERNETES_EXEC_INFO"])["spec"]; '
    answer += 'print(json.dumps({"status": {"token": os.environ["ANSWER"]}}))'
    plugin.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{answer}'\n", encoding="utf-8")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./plugin",
        "args": ["eks", "get-token"],
        "env": [{"name": "ANSWER", "value": "secret"}],
    }
    user = {"token": "secret", "tokenFile": "my.token", "exec": command}[key]
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(api, tmp_path, {key: user})))
        ask(find_cluster())
        assert api.requests[0].headers["Authorization"] == "Bearer secret"
        assert api.requests[0].path == "/prefix/x"


def test_a_kubeconfig_with_everything_inside(tmp_path: Path) -> None:
    pair = Authority("users").issue(["person"], tmp_path, "person")
    data = [base64.b64encode(path.read_bytes()).decode() for path in (pair.public, pair.private)]
    user = {"client-certificate-data": data[0], "client-key-data": data[1]}
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        ca = base64.b64encode(api.ca.read_bytes()).decode()
        path = kubeconfig(api, tmp_path, user, **{"certificate-authority-data": ca})
        ask(find_cluster({"KUBECONFIG": f"{tmp_path}/none:{path}"}))
        home = tmp_path / "home" / ".kube"
        home.mkdir(parents=True)
        path.rename(home / "config")
        ask(find_cluster({"HOME": str(tmp_path / "home")}))
        assert "Authorization" not in api.requests[0].headers
        assert len(api.requests) == 2


def test_a_kubeconfig_may_skip_verification(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        path = kubeconfig(api, tmp_path, {}, **{"insecure-skip-tls-verify": True})
        assert ask(find_cluster({"KUBECONFIG": str(path)})) == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda config: config.pop("current-context"), "no current-context"),
        (lambda config: config.pop("users"), "has no user 'u'"),
        (lambda config: config["clusters"][0].update(name="other"), "has no cluster 'c'"),
        (
            lambda config: config["clusters"][0]["cluster"].update(server="http://x"),
            "not an https:// address",
        ),
        (lambda config: config["users"][0]["user"].update(tokenFile="none"), "cannot read the API token"),
        (
            lambda config: config["users"][0]["user"].update(exec={"command": "/nowhere/to/be/found"}),
            "'/nowhere/to/be/found' failed",
        ),
        (lambda config: config["users"][0]["user"].update(exec={"command": "true"}), "gave no token"),
        (
            lambda config: config["users"][0]["user"].update({"client-certificate": "none"}),
            "cannot read client-certificate",
        ),
        (
            lambda config: config["users"][0]["user"].update(
                {"client-certificate": "ca.crt", "client-key": "ca.crt"}
            ),
            "client certificate of the kubeconfig is unusable",
        ),
        (
            lambda config: config["clusters"][0]["cluster"].update({"certificate-authority-data": "%"}),
            "is not base64",
        ),
        (
            lambda config: config["clusters"][0]["cluster"].update({"certificate-authority-data": "AAAA"}),
            "cannot use the API server's CA",
        ),
    ],
)
def test_a_kubeconfig_that_is_unusable_says_why(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        path = kubeconfig(api, tmp_path, {})
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(config)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        with pytest.raises(ClusterError, match=text):
            ask(find_cluster({"KUBECONFIG": str(path)}))


@pytest.mark.parametrize("content", [b"- a\n", b"{", b"\xff"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(ClusterError, match=str(path)):
        find_cluster({"KUBECONFIG": str(path)})


def test_a_pod_is_found_by_its_environment(tmp_path: Path) -> None:
    found = find_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert found.endpoint == Endpoint("fd00::1", 6443)
    with pytest.raises(ClusterError, match="not a port"):
        find_cluster({"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "x"})
    with pytest.raises(ClusterError, match="KUBECONFIG is not set"):
        find_cluster({"HOME": str(tmp_path)})
    assert pod_namespace(tmp_path) is None
    (tmp_path / "namespace").write_text("here", encoding="utf-8")
    assert pod_namespace(tmp_path) == "here"


def test_cas_that_lack_what_python_began_to_ask_for_are_trusted(tmp_path: Path) -> None:
    import ssl  # noqa: PLC0415 - just this flag

    path = tmp_path / "ca.crt"
    path.write_bytes(Authority().pem)
    assert not tls_context(path).verify_flags & ssl.VERIFY_X509_STRICT


def test_without_yaml_a_kubeconfig_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "common.kube.kubeconfig", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ClusterError, match="needs the Python package pyyaml"):
        find_cluster({"KUBECONFIG": str(tmp_path / "kubeconfig")})
