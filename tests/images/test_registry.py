"""What `make push` finds out before it builds."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images import registry as asked
from images.registry import Question, RegistryError, diagnose
from images.store import Store
from tests.cluster.control_plane import free_ports
from tests.images.conftest import need
from tests.skipping import programs

ECR = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
OTHER = "registry.example"
BUILDAH = "Error: initializing source docker://r/n:t: reading manifest t in r/n: "
HELM = 'Error: failed to perform "FetchReference" on source: '
UNKNOWN_TAG = BUILDAH + "manifest unknown: manifest unknown"
UNAUTHORIZED = BUILDAH + "unauthorized: authentication required"
EXPIRED = BUILDAH + "denied: Your authorization token has expired. Reauthenticate and try again."
DENIED = BUILDAH + "denied: requested access to the resource is denied"
NO_REPOSITORY = BUILDAH + "name unknown: The repository with name 'multus-eni-agent' does not exist"
NO_CREDENTIAL = HELM + 'GET "https://r/v2/charts/n/manifests/t": basic credential not found'
REFUSED = 'Error: pinging container registry r: Get "https://r/v2/": dial tcp: connection refused'
CREATE = "aws ecr create-repository --region eu-central-1 --repository-name multus-eni-agent"


@pytest.mark.pure
@pytest.mark.parametrize(
    ("where", "logged_in", "answer", "remedy"),
    [
        (ECR, True, UNKNOWN_TAG, ""),
        (ECR, True, NO_REPOSITORY, CREATE),
        (ECR + "/team", True, NO_REPOSITORY, CREATE.replace("multus", "team/multus")),
        (ECR, False, UNAUTHORIZED, f"eu-central-1 | buildah login --username AWS --password-stdin {ECR}"),
        (ECR, True, EXPIRED, f"eu-central-1 | buildah login --username AWS --password-stdin {ECR}"),
        (OTHER, False, UNAUTHORIZED, "buildah login registry.example"),
        (OTHER, False, DENIED, "buildah login registry.example"),
        # These answer so for a repository that the push will make.
        (OTHER, True, DENIED, ""),
        (OTHER, True, UNAUTHORIZED, ""),
        (OTHER, True, NO_REPOSITORY, ""),
        (OTHER, True, NO_CREDENTIAL, "buildah login registry.example"),
        (OTHER, True, HELM + "r/charts/n:t: not found", ""),
        (OTHER, True, REFUSED, "registry.example can't be reached"),
        (OTHER, True, "Error: words that nobody has seen yet", ""),
    ],
)
def test_the_remedy_for_an_answer(where: str, logged_in: bool, answer: str, remedy: str) -> None:
    found = diagnose(Question(where, "multus-eni-agent", "buildah login", logged_in), answer)
    assert (remedy in found) if remedy else (found == "")


class _Registry(BaseHTTPRequestHandler):
    """Knows no repository, or demands a login."""

    login = False

    def do_GET(self) -> None:
        code = "UNAUTHORIZED" if self.login else "MANIFEST_UNKNOWN"
        body = {"errors": [{"code": code, "message": "as a registry says"}]}
        status = 401 if self.login else (200 if self.path == "/v2/" else 404)
        content = json.dumps(body if status != 200 else {}).encode()
        self.send_response(status)
        if self.login:
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(*, login: bool) -> Iterator[str]:
    handler = type("Handler", (_Registry,), {"login": login})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "name", ["localhost:5000", "ghcr.io/owner", "111122223333.dkr.ecr.eu-central-1.amazonaws.com"]
)
def test_a_registry_is_taken_as_the_chart_takes_it(name: str) -> None:
    assert asked.read_name(name) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://ghcr.io", "write ghcr.io, as"),
        ("oci://ghcr.io/owner/", "write ghcr.io/owner, as"),
        ("ghcr.io/", "write ghcr.io, as"),
        ("ghcr.io/Owner", "is not a registry such as 1"),
        ("", "is not a registry such as 1"),
    ],
)
def test_what_is_no_registry_is_refused_before_anything_is_built(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked.read_name(text)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    need("buildah")
    # No login of the person that runs the tests.
    (tmp_path / "auth.json").write_text("{}")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("HELM_REGISTRY_CONFIG", str(tmp_path / "helm.json"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    # Not pytest's folder: buildah wants a path of at most 50 characters.
    with tempfile.TemporaryDirectory(prefix="asked-") as folder:
        yield Store(Path(folder))


def test_buildah_and_helm_are_understood(store: Store) -> None:
    helm = str(programs(["helm4"])["helm4"])
    with serving(login=False) as where:
        asked.require(store, where, helm, plain_http=True)
    with serving(login=True) as where, pytest.raises(RegistryError, match=f"buildah login {where}"):
        asked.require(store, where, helm, plain_http=True)


def test_a_registry_that_is_away_stops_before_anything_is_built(store: Store) -> None:
    (port,) = free_ports("127.0.0.1")
    with pytest.raises(RegistryError, match=f"127.0.0.1:{port} can't be reached"):
        asked.require(store, f"127.0.0.1:{port}", sys.executable, plain_http=True)
