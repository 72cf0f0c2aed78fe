"""The servers that are measured, each on the same core: ours, the floor, and the peers."""

from __future__ import annotations

import http.client
import json
import lzma
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.webhook import floor
from benchmarks.webhook.cores import Cores, running_on
from benchmarks.webhook.figures import BARE, CONSTANT, FLOOR, OURS
from common.agent_container import CONTAINER_NAME
from tests.cluster.certificates import Authority, KeyPair
from tests.cluster.control_plane import ControlPlane, free_ports
from tests.cluster.processes import Process, ProcessError
from webhook.server.listener import BACKLOG
from webhook.server.main import KEEP_ALIVE

HOST = "127.0.0.1"
PEERS = ("MULTUS_ENI_PEERS_DIR", "PEERS_DIR")
"""Environment variables that name a folder with the peers' programs, as they are or packed by xz."""
RESOURCE = "example.com/eni"
"""What network-resources-injector adds to pods of the network, by the network's annotation."""
SETTINGS = {
    "agent": {
        "image": "registry.example/multus-eni/ipagent:1.0",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
    }
}
START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A webhook that runs. `mark` stands in every pod that it has patched, and in no other."""

    name: str
    title: str
    process: Process
    port: int
    path: str
    mark: str

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Program:
    """How a server is started. `arguments` get the port and, for the floor, the answer's file."""

    name: str
    title: str
    path: str
    mark: str
    arguments: Callable[[int], Sequence[str | Path]]
    env: Mapping[str, str] = field(default_factory=dict)


class Rack:
    """What the servers share: a folder, a certificate, the core. The caller ends the processes."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self.folder = folder
        self.cores = cores
        self._authority = Authority("benchmark")
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(self._authority.pem)
        self.pair: KeyPair = self._authority.issue([HOST], folder, "webhook")
        self._context = ssl.create_default_context(cafile=str(self.ca))

    @property
    def ca_pem(self) -> bytes:
        """The CA certificate that all servers' are signed by."""
        return self._authority.pem

    def prepare(self, program: Program) -> Server:
        """Choose a port and make the process, which is not started yet."""
        (port,) = free_ports(HOST)
        log = self.folder / f"{program.name}.log"
        argv = program.arguments(port)
        process = Process(program.title, argv, log=log, env=program.env)
        return Server(program.name, program.title, process, port, program.path, program.mark)

    def ready(self, server: Server, review: bytes) -> bytes:
        """Wait until a review is answered with a patch, and return the answer; raises ProcessError.

        Peers patch only once they have read from the API server what they need.
        """

        def patched() -> bytes | None:
            answer = self._ask(server, "POST", server.path, review)
            return answer if answer and "patch" in json.loads(answer)["response"] else None

        return server.process.wait_until(patched, "answer with a patch", START_TIMEOUT)

    def start_seconds(self, server: Server) -> float:
        """Start a server, return how long it takes to the first 200 on /readyz, and end it."""
        began = time.monotonic()
        with running_on({self.cores.server}), server.process as process:
            while self._ask(server, "GET", "/readyz") is None:
                process.check()
                if time.monotonic() > began + START_TIMEOUT:
                    raise ProcessError(f"{server.title}: no 200 from /readyz within {START_TIMEOUT:g} s")
                time.sleep(0.001)
            took = time.monotonic() - began
            process.end()
        return took

    def _ask(self, server: Server, method: str, path: str, body: bytes | None = None) -> bytes | None:
        connection = http.client.HTTPSConnection(HOST, server.port, timeout=10, context=self._context)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
        except OSError:
            return None
        finally:
            connection.close()
        return content if response.status == 200 else None


def ours(rack: Rack) -> Program:
    """`multus-eni serve` as it is deployed: metrics, logs, warnings and audit annotations on."""
    config = rack.folder / "settings.yaml"
    config.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    return Program(
        name=OURS,
        title="multus-eni serve",
        path="/mutate/pod/default",
        mark=CONTAINER_NAME,
        arguments=lambda port: [
            Path(sys.executable).with_name("multus-eni"),
            "serve",
            f"--config={config}",
            f"--tls-cert={rack.pair.public}",
            f"--tls-key={rack.pair.private}",
            f"--host={HOST}",
            f"--port={port}",
            "--metrics-port=0",
        ],
    )


def floor_programs(rack: Rack, answer: bytes) -> list[Program]:
    """The same server stack with a constant answer: through FastAPI, and without it."""
    file = rack.folder / "answer.json"
    file.write_bytes(answer)
    titles = {FLOOR: "FastAPI answering a constant", BARE: "uvicorn alone answering a constant"}
    return [_constant(rack, file, name, title) for name, title in titles.items()]


def constant_program(rack: Rack, answer: bytes) -> Program:
    """`bare` with what the API server checks in an answer: uid and the name of the token volume."""
    file = rack.folder / "constant.json"
    file.write_bytes(answer)
    return _constant(rack, file, CONSTANT, "the same configuration, answered by a constant")


def _constant(rack: Rack, answer: Path, name: str, title: str) -> Program:
    module = [sys.executable, "-m", floor.__name__, name]
    pair, settings = rack.pair, [str(BACKLOG), str(KEEP_ALIVE)]
    return Program(
        name=name,
        title=title,
        path=floor.PATH,
        mark=CONTAINER_NAME if name == CONSTANT else "",
        arguments=lambda port: [*module, answer, pair.public, pair.private, str(port), *settings],
    )


def peer_programs(rack: Rack, plane: ControlPlane, folder: Path) -> list[Program]:
    """Return the peers whose programs are in the folder. Raises OSError."""
    makers = {"nri": _network_resources_injector, "piw": _pod_identity_webhook}
    return [make(rack, plane, _unpacked(folder, name, rack.folder)) for name, make in makers.items()]


def _unpacked(folder: Path, name: str, target: Path) -> Path:
    plain = folder / name
    if plain.is_file():
        return plain.resolve()
    program = target / name
    with lzma.open(folder / f"{name}.xz") as packed, program.open("wb") as file:
        while piece := packed.read(1 << 20):
            file.write(piece)
    program.chmod(0o755)
    return program


def _network_resources_injector(rack: Rack, plane: ControlPlane, program: Path) -> Program:
    account = rack.folder / "account"
    account.mkdir()
    (account / "token").write_text(plane.admin.token, encoding="ascii")
    (account / "ca.crt").write_bytes(plane.ca.read_bytes())
    (account / "namespace").write_text("kube-system", encoding="ascii")
    host, _, port = plane.url.removeprefix("https://").rpartition(":")
    launcher: list[str | Path] = [sys.executable, "-m", "benchmarks.webhook.in_cluster", account]
    (health,) = free_ports(HOST)
    return Program(
        name="nri",
        title="network-resources-injector",
        path="/mutate",
        mark=RESOURCE,
        arguments=lambda listening: [
            *launcher,
            program,
            "--insecure",
            "--logtostderr",
            f"--port={listening}",
            f"--bind-address={HOST}",
            f"--health-check-port={health}",
            f"--tls-cert-file={rack.pair.public}",
            f"--tls-private-key-file={rack.pair.private}",
        ],
        env={"GOMAXPROCS": "1", "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
    )


def _pod_identity_webhook(rack: Rack, plane: ControlPlane, program: Path) -> Program:
    kubeconfig = plane.kubeconfig(plane.admin)
    (metrics,) = free_ports(HOST)
    return Program(
        name="piw",
        title="amazon-eks-pod-identity-webhook",
        path="/mutate",
        mark="AWS_ROLE_ARN",
        arguments=lambda listening: [
            program,
            "--in-cluster=false",
            f"--kubeconfig={kubeconfig}",
            f"--tls-key={rack.pair.private}",
            f"--tls-cert={rack.pair.public}",
            f"--port={listening}",
            f"--metrics-port={metrics}",
        ],
        env={"GOMAXPROCS": "1"},
    )
