"""The client, the watches, and how the cluster is found."""

from __future__ import annotations

import base64
import io
import json
import queue
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from multus_eni.certs import kube
from multus_eni.certs.cluster import InCluster, find_cluster, pod_namespace, trusting
from multus_eni.certs.errors import ApiError, ClusterError, Unreachable
from multus_eni.certs.kube import Client, Endpoint
from multus_eni.certs.log import Log
from multus_eni.certs.watch import Target, Watcher
from tests.certs.fake_api import FakeApi, Reply, Request
from tests.cluster.certificates import Authority
from tests.cluster.waiting import wait_for

STATUS = {"kind": "Status", "reason": "Conflict", "message": "the object has been modified"}


def in_cluster(api: FakeApi, folder: Path, token: str = "first") -> InCluster:
    (folder / "token").write_text(f"{token}\n", encoding="ascii")
    if api.ca != folder / "ca.crt":
        (folder / "ca.crt").write_bytes(api.ca.read_bytes())
    return InCluster(Endpoint("127.0.0.1", api.port), folder)


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


def test_a_renewed_token_counts_from_the_next_request_on(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply(body={"a": 1}, date="Tue, 15 Nov 1994 08:12:31 GMT")) as api:
        client = Client(in_cluster(api, tmp_path))
        answer = client.get("/api/v1/x", "read x", {"fieldSelector": "metadata.name=a b"})
        assert (answer.object, answer.time) == ({"a": 1}, 784887151.0)
        in_cluster(api, tmp_path, "second")
        assert client.get("/api/v1/x", "read x").time == 784887151.0
        tokens = [request.headers["Authorization"] for request in api.requests]
        assert tokens == ["Bearer first", "Bearer second"]
        assert api.requests[0].parameters == {"fieldSelector": "metadata.name=a b"}


def test_patches_say_what_they_are(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = Client(in_cluster(api, tmp_path))
        client.apply("/x", "apply", {"a": 1}, manager="m", force=True)
        client.merge("/x", "merge", {"b": 2}, manager="m")
        applied, merged = api.requests
    assert applied.headers["Content-Type"] == "application/apply-patch+yaml"
    assert (applied.parameters, applied.body) == ({"fieldManager": "m", "force": "true"}, {"a": 1})
    assert merged.headers["Content-Type"] == "application/merge-patch+json"
    assert (merged.parameters, merged.body) == ({"fieldManager": "m"}, {"b": 2})


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (Reply(409, STATUS), 409, "refused to read x: 409 Conflict: the object has been modified"),
        (Reply(403, {"reason": "Forbidden", "message": "no"}), 403, "Rights"),
        (Reply(500, b"oops"), 500, "no further word"),
        (Reply(502, b"[]"), 502, "no further word"),
        (Reply(301, b""), 301, "refused"),
        (Reply(200, b"hello"), 200, "no JSON object"),
        (Reply(200, b"[]"), 200, "no JSON object"),
        (Reply(200, {"a": "b" * 200}), 200, "more than 100 bytes"),
        (Reply(422, {"reason": "Invalid", "message": "m" * 9999}), 422, "m" * 500 + ";"),
    ],
)
def test_refusals_say_what_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, code: int, text: str
) -> None:
    if "100 bytes" in text:
        monkeypatch.setattr(kube, "MAX_ANSWER", 100)
    with FakeApi(tmp_path, lambda _: reply) as api, pytest.raises(ApiError) as refused:
        Client(in_cluster(api, tmp_path)).get("/x", "read x")
    assert refused.value.code == code
    assert text in str(refused.value)


def test_an_api_server_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = Client(in_cluster(api, tmp_path))
    with pytest.raises(Unreachable, match=f"cannot read x: no answer .* https://127.0.0.1:{api.port}"):
        client.get("/x", "read x")


def test_another_ca_is_not_trusted(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = Client(in_cluster(api, tmp_path))
        (tmp_path / "ca.crt").write_bytes(Authority("other").pem)
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            client.get("/x", "read x")
        assert api.requests == []


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_missing_credentials_are_named(tmp_path: Path, missing: str) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = Client(in_cluster(api, tmp_path))
        (tmp_path / missing).unlink()
        with pytest.raises(ClusterError, match=missing):
            client.get("/x", "read x")


class Served:
    """Answers lists with a resourceVersion, and watches with what a test puts into `script`."""

    def __init__(self) -> None:
        self.version = "10"
        self.script: queue.Queue[bytes | Reply | None] = queue.Queue()

    def answer(self, request: Request) -> Reply:
        if "watch" not in request.parameters:
            return Reply(body={"metadata": {"resourceVersion": self.version}})
        first = self.script.get(timeout=10)
        if isinstance(first, Reply):
            return first
        return Reply(chunks=self._chunks(first))

    def _chunks(self, first: bytes | None) -> Iterator[bytes]:
        chunk: bytes | Reply | None = first
        while isinstance(chunk, bytes):
            yield chunk
            chunk = self.script.get(timeout=10)


def event(kind: str, version: str, **more: Any) -> bytes:
    found = {"type": kind, "object": {"metadata": {"resourceVersion": version}, **more}}
    return json.dumps(found).encode() + b"\n"


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeApi, Served, list[int]]]:
    """A watcher of one object, and how often it said that something had changed."""
    monkeypatch.setattr("multus_eni.certs.watch.SHORTEST", 0.0)
    served, changes = Served(), []
    with FakeApi(tmp_path, served.answer) as api:
        client = Client(in_cluster(api, tmp_path))
        watcher = Watcher(client, Target("/secrets", "tls"), lambda: changes.append(1), Log(io.StringIO()))
        watcher.start()
        yield api, served, changes
        watcher.stop()
        # One for each handler that may still wait for its script.
        for _ in range(10):
            served.script.put(None)
        watcher.join(10)
        assert not watcher.is_alive()


def asked(api: FakeApi) -> list[str]:
    """Name the requests: `list`, or the resourceVersion that a watch began with."""
    return [request.parameters.get("resourceVersion", "list") for request in api.requests]


def test_a_watch_goes_on_where_the_last_one_ended(watched: tuple[FakeApi, Served, list[int]]) -> None:
    api, served, changes = watched
    for chunk in (event("MODIFIED", "11"), event("BOOKMARK", "20"), None, event("BOOKMARK", "30"), None):
        served.script.put(chunk)
    wait_for(lambda: asked(api) == ["list", "10", "20", "30"], "four requests")
    # The list and the one change; bookmarks are none.
    assert len(changes) == 2
    assert all(each.parameters["fieldSelector"] == "metadata.name=tls" for each in api.requests)
    assert api.requests[1].parameters["allowWatchBookmarks"] == "true"


@pytest.mark.parametrize(
    "gone",
    [
        Reply(410, {"reason": "Expired", "message": "too old resource version"}),
        event("ERROR", "0", code=410, reason="Expired"),
    ],
    ids=["refused", "as an event"],
)
def test_a_version_that_is_too_old_leads_to_a_new_list(
    watched: tuple[FakeApi, Served, list[int]], gone: Reply | bytes
) -> None:
    api, served, changes = watched
    wait_for(lambda: asked(api) == ["list", "10"], "the first watch")
    served.version = "99"
    served.script.put(gone)
    wait_for(lambda: asked(api) == ["list", "10", "list", "99"], "watch from the new list")
    wait_for(lambda: len(changes) >= 2, "a look after the new list")


@pytest.mark.parametrize(
    "broken",
    [
        Reply(403, {"reason": "Forbidden", "message": "no"}),
        Reply(500, b""),
        b"no json\n",
        event("ERROR", "0", code=500, reason="InternalError"),
    ],
    ids=["forbidden", "failed", "junk", "an error"],
)
def test_a_broken_watch_is_begun_again(
    watched: tuple[FakeApi, Served, list[int]], broken: Reply | bytes
) -> None:
    api, served, changes = watched
    served.script.put(broken)
    served.script.put(None)
    wait_for(lambda: asked(api).count("list") == 2, "another list")
    wait_for(lambda: len(changes) == 2, "a look after it")


def test_an_event_that_is_cut_off_is_not_taken(watched: tuple[FakeApi, Served, list[int]]) -> None:
    api, served, changes = watched
    served.script.put(event("MODIFIED", "11")[:-20])
    served.script.put(None)
    wait_for(lambda: asked(api) == ["list", "10", "10"], "another watch from the same version")
    assert len(changes) == 1


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
        Client(find_cluster()).get("/x", "read x")
        assert api.requests[0].headers["Authorization"] == "Bearer secret"
        assert api.requests[0].path == "/prefix/x"


def test_a_kubeconfig_with_everything_inside(tmp_path: Path) -> None:
    pair = Authority("users").issue(["person"], tmp_path, "person")
    data = [base64.b64encode(path.read_bytes()).decode() for path in (pair.public, pair.private)]
    user = {"client-certificate-data": data[0], "client-key-data": data[1]}
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        ca = base64.b64encode(api.ca.read_bytes()).decode()
        path = kubeconfig(api, tmp_path, user, **{"certificate-authority-data": ca})
        Client(find_cluster({"KUBECONFIG": f"{tmp_path}/none:{path}"})).get("/x", "read x")
        home = tmp_path / "home" / ".kube"
        home.mkdir(parents=True)
        path.rename(home / "config")
        Client(find_cluster({"HOME": str(tmp_path / "home")})).get("/x", "read x")
        assert "Authorization" not in api.requests[0].headers
        assert len(api.requests) == 2


def test_a_kubeconfig_may_skip_verification(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        path = kubeconfig(api, tmp_path, {}, **{"insecure-skip-tls-verify": True})
        assert Client(find_cluster({"KUBECONFIG": str(path)})).get("/x", "read x").object == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda config: config.pop("current-context"), "no current-context"),
        (lambda config: config.pop("users"), "has no user 'u'"),
        (lambda config: config["clusters"][0].update(name="other"), "has no cluster 'c'"),
        (lambda config: config["clusters"][0]["cluster"].update(server="http://x"), "no https:// address"),
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
            Client(find_cluster({"KUBECONFIG": str(path)})).get("/x", "read x")


@pytest.mark.parametrize("content", [b"- a\n", b"{", b"\xff"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(ClusterError, match=str(path)):
        find_cluster({"KUBECONFIG": str(path)})


def test_a_pod_is_found_by_its_environment(tmp_path: Path) -> None:
    found = find_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert found.endpoint == Endpoint("fd00::1", 6443)
    with pytest.raises(ClusterError, match="no port"):
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
    assert not trusting(path).verify_flags & ssl.VERIFY_X509_STRICT


def test_threads_end_where_the_api_server_says_nothing(tmp_path: Path) -> None:
    """A watch that is silent for minutes ends at once when the process does."""
    silent = threading.Event()

    def chunks() -> Iterator[bytes]:
        silent.wait(20)
        yield b""

    def answer(request: Request) -> Reply:
        if "watch" in request.parameters:
            return Reply(chunks=chunks())
        return Reply(body={"metadata": {"resourceVersion": "1"}})

    with FakeApi(tmp_path, answer) as api:
        client = Client(in_cluster(api, tmp_path))
        watcher = Watcher(client, Target("/secrets", "tls"), lambda: None, Log(io.StringIO()))
        watcher.start()
        wait_for(lambda: len(api.requests) == 2, "the watch")
        watcher.stop()
        watcher.join(10)
        assert not watcher.is_alive()
        silent.set()
