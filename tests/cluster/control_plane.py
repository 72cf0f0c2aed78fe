"""A real control plane without nodes: etcd, kube-apiserver and, if wanted, controller-manager and scheduler.

It needs no rights: it runs as any user, also in a user and network namespace that has only loopback.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cluster.api import NAMESPACE, Api, ApiError
from tests.cluster.certificates import Authority, signing_keys
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.processes import LAZY_GC, Process
from tests.cluster.tools import Binaries
from tests.http_client import TransportError

SERVICE_CIDR = "10.96.0.0/16"
API_SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
)
NO_TYPE_CHECKS = "--controllers=*,-validatingadmissionpolicy-status-controller"
"""For the controller-manager: checking the types in the policies of an installation takes it two seconds."""
OLDEST = (1, 30)
"""The first release in which the webhook's matchConditions are on for good."""


class UnsupportedVersion(RuntimeError):
    """The API server that was found is too old; the text says which it is."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of the API server, known by a token of its own."""

    name: str
    group: str
    token: str


def make_user(name: str, group: str = "system:masters") -> User:
    """Make a user with a fresh token."""
    return User(name, group, secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class Place:
    """Namespaces in which a control plane runs while its user is outside.

    `prefix` begins the command line of each program and takes it there; it sees the same files. The API
    server listens at `address` there, and `url` is how the user reaches it, at 127.0.0.1. `ports` are those
    of etcd, for clients and for peers, and of the API server. `folder` is where all of it is written.
    """

    prefix: tuple[str, ...]
    folder: Path
    address: str
    url: str
    ports: tuple[int, int, int] = (2379, 2380, 6443)


class ControlPlane:
    """The control plane, from `with` to the end of its block; everything it writes is in one folder.

    `bind_address` is an address of this machine, or `place` says where else it runs; `users` get tokens
    beside the administrator; `apiserver_flags` and `controller_flags` are added. With `aggregator_routing`
    the API server calls the endpoints of a Service itself, so that webhooks behind Services work without
    kube-proxy. Raises ProcessError with the end of the log where a part does not start, UnsupportedVersion
    where the API server found is older than OLDEST.
    """

    def __init__(
        self,
        binaries: Binaries,
        *,
        bind_address: str = "127.0.0.1",
        place: Place | None = None,
        controller_manager: bool = True,
        scheduler: bool = False,
        aggregator_routing: bool = False,
        apiserver_flags: Sequence[str] = (),
        controller_flags: Sequence[str] = (),
        users: Sequence[User] = (),
    ) -> None:
        self.admin = make_user("admin")
        self.startup_seconds = 0.0
        self._binaries = binaries
        self._place = place
        self._address = place.address if place else bind_address
        self._with_controllers = controller_manager
        self._with_scheduler = scheduler
        self._aggregator_routing = aggregator_routing
        self._apiserver_flags = tuple(apiserver_flags)
        self._controller_flags = tuple(controller_flags)
        self._controllers = make_user("system:kube-controller-manager")
        self._scheduling = make_user("system:kube-scheduler")
        self._users = (self.admin, self._controllers, self._scheduling, *users)
        self._exit = ExitStack()
        self._processes: list[Process] = []
        self._authority = Authority("kubernetes")

    def __enter__(self) -> Self:
        began = time.monotonic()
        with ExitStack() as stack:
            place = self._place
            parent = place.folder if place else None
            folder = tempfile.TemporaryDirectory(prefix="control-plane-", dir=parent)
            self._folder = Path(stack.enter_context(folder))
            self._ports = place.ports if place else free_ports("127.0.0.1", "127.0.0.1", self._address)
            self._start(stack)
            # Only a control plane that is up is left to __exit__.
            self._exit = stack.pop_all()
        self.startup_seconds = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        """How this program reaches the API server."""
        return self._place.url if self._place else self.inner_url

    @property
    def inner_url(self) -> str:
        """Where the API server listens; in a Place only programs there reach it."""
        return f"https://{self._address}:{self._ports[2]}"

    @property
    def ca(self) -> Path:
        """The CA certificate of the API server."""
        return self._folder / "ca.crt"

    def client(self, user: User | None = None) -> Api:
        """Make a client for a user, by default the administrator; close it."""
        return Api(self.url, (user or self.admin).token, self.ca)

    def kubeconfig(self, user: User, *, inner: bool = False) -> Path:
        """Write a kubeconfig for a user; an `inner` one is for programs in the control plane's Place."""
        name = user.name.replace(":", "-") + ("-inner" if inner else "")
        path = self._folder / f"{name}.kubeconfig"
        server = self.inner_url if inner else self.url
        return write_kubeconfig(path, server, self._authority.pem, user.token)

    def check(self) -> None:
        """Raise ProcessError where one of its processes has ended."""
        for process in self._processes:
            process.check()

    def _start(self, stack: ExitStack) -> None:
        self._write_files()
        self._processes = [self._etcd(), self._apiserver()]
        etcd, apiserver = (stack.enter_context(process) for process in self._processes)
        with self.client() as api:

            def ready() -> bool:
                etcd.check()
                return _is_ready(api)

            apiserver.wait_until(ready, "answer to /readyz with the first namespaces", 60)
            _check_version(api)
        if self._with_controllers:
            self._processes.append(stack.enter_context(self._controller_manager()))
        if self._with_scheduler:
            self._processes.append(stack.enter_context(self._scheduler()))

    def _write_files(self) -> None:
        self.ca.write_bytes(self._authority.pem)
        self._authority.issue([*API_SERVER_NAMES, self._address], self._folder, "apiserver")
        signing_keys(self._folder, "service-account")
        lines = [f'{user.token},{user.name},{user.name},"{user.group}"\n' for user in self._users]
        (self._folder / "tokens.csv").write_text("".join(lines), encoding="utf-8")

    def _process(self, name: str, flags: Sequence[str]) -> Process:
        prefix = self._place.prefix if self._place else ()
        argv: list[str | Path] = [*prefix, self._binaries[name], *flags]
        return Process(name, argv, log=self._folder / f"{name}.log", env=LAZY_GC)

    def _etcd(self) -> Process:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[:2])
        return self._process(
            "etcd",
            [
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                # Nothing here has to survive a crash of the machine.
                "--unsafe-no-fsync",
            ],
        )

    def _apiserver(self) -> Process:
        folder = self._folder
        return self._process(
            "kube-apiserver",
            [
                f"--etcd-servers=http://127.0.0.1:{self._ports[0]}",
                f"--bind-address={self._address}",
                f"--secure-port={self._ports[2]}",
                f"--advertise-address={self._address}",
                f"--tls-cert-file={folder / 'apiserver.crt'}",
                f"--tls-private-key-file={folder / 'apiserver.key'}",
                f"--cert-dir={folder / 'certs'}",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={folder / 'service-account.pub'}",
                f"--service-account-signing-key-file={folder / 'service-account.key'}",
                f"--service-cluster-ip-range={SERVICE_CIDR}",
                "--allow-privileged=true",
                # Otherwise logs and exec look nodes up in DNS.
                "--kubelet-preferred-address-types=InternalIP",
                *self._routing_flags(),
                *self._apiserver_flags,
            ],
        )

    def _routing_flags(self) -> list[str]:
        flags = ["--enable-aggregator-routing=true"] if self._aggregator_routing else []
        if self._address.startswith("127."):
            # An Endpoints object takes no loopback address: the Service `kubernetes` stays without one.
            flags.append("--endpoint-reconciler-type=none")
        return flags

    def _controller_manager(self) -> Process:
        folder = self._folder
        return self._process(
            "kube-controller-manager",
            [
                f"--kubeconfig={self.kubeconfig(self._controllers, inner=True)}",
                "--leader-elect=false",
                f"--root-ca-file={self.ca}",
                f"--service-account-private-key-file={folder / 'service-account.key'}",
                f"--flex-volume-plugin-dir={folder / 'flex'}",
                "--secure-port=0",
                *self._controller_flags,
            ],
        )

    def _scheduler(self) -> Process:
        config = self.kubeconfig(self._scheduling, inner=True)
        return self._process(
            "kube-scheduler", [f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0"]
        )


def free_ports(*addresses: str) -> list[int]:
    """Ask the kernel for a free TCP port on each address; all are held until all are known."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((address, 0))) for address in addresses]
        return [each.getsockname()[1] for each in sockets]


def _is_ready(api: Api) -> bool:
    try:
        api.raw("/readyz")
        # These are made after the server calls itself ready.
        for name in ("default", "kube-system"):
            api.get(NAMESPACE, name)
    except (ApiError, TransportError):
        return False
    return True


def _check_version(api: Api) -> None:
    version: dict[str, Any] = json.loads(api.raw("/version"))
    found = tuple(int(re.sub(r"\D.*", "", version[part])) for part in ("major", "minor"))
    if found < OLDEST:
        raise UnsupportedVersion(
            f"kube-apiserver {version['gitVersion']} is too old: "
            f"{OLDEST[0]}.{OLDEST[1]} or newer is needed; `make tools` without it in PATH builds one"
        )
