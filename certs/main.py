"""`multus-eni certs run` and `status`: build the parts and run them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from certs.controller import TICK, Clock, Controller
from certs.metrics import MetricsAndProbes
from certs.rotation import Now, Settings, Wait, next_action
from certs.state import SeenSince, seen_since
from certs.status import report, to_text
from certs.store import Names, Reader, SecretMetadata, Store, read_objects
from common.agent_settings import LogLevel
from common.kube.client import Client
from common.kube.errors import NOT_AUTHENTICATED, ApiError, ClusterError, Unreachable
from common.kube.reflector import Reflector, one_object
from common.kube.rest_config import find_cluster, in_pod
from common.log import JsonLog
from common.probes import ProbeServer
from common.python_gc import end_startup
from common.stop_signals import block_stop_signals, on_stop_signal
from common.version import VERSION

SILENCE = 3 * TICK
"""Seconds without a turn after which the controller counts as stuck: several timeouts of a request."""
ENDING = 5.0
"""Seconds that each watch has for its end."""
REMEDIES = {
    401: NOT_AUTHENTICATED,
    403: "grant the ServiceAccount what docs/certificates.md lists under Rights",
    413: "the object is too large: remove data that does not belong there",
    422: "if the Secret is immutable, or holds data of others, delete it: it is created again",
}
"""What the user does next where the API server refuses, by HTTP code."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    names: Names
    settings: Settings
    host: str = "127.0.0.1"
    port: int = 0
    secret_metadata: SecretMetadata = field(default_factory=SecretMetadata)
    log_level: LogLevel = LogLevel.INFO


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> Now:
        """Return the time of both clocks."""
        return Now(time.time(), time.monotonic())


def run(options: Options) -> int:
    """Run until SIGTERM; returns the exit code. Raises ClusterError where there is no cluster."""
    block_stop_signals()
    client, log, clock = _client(), JsonLog(level=options.log_level), SystemClock()
    metrics = MetricsAndProbes(lambda: clock.now().steady, SILENCE)
    store = Store(client, options.names, options.secret_metadata)
    loop = Controller(store, options.settings, clock, log, metrics)
    on_stop_signal(loop.stop)
    with _server(metrics, options) as server, watch_objects(client, options.names, loop, log, metrics):
        log.write(
            "info",
            "started",
            version=VERSION,
            host=options.host,
            port=server.port,
            secret=f"{options.names.namespace}/{options.names.secret}",
            configuration=options.names.configuration,
            names=sorted(options.settings.names),
        )
        end_startup()
        loop.run()
    log.write("info", "stopped")
    return 0


@dataclass(frozen=True, slots=True)
class WakeOnChange:
    """Wakes the controller after each list and each event of the object `name`, which it then reads."""

    wake: Callable[[], None]
    name: str
    log: JsonLog

    def on_list(self, items: tuple[None, ...]) -> None:  # noqa: ARG002 - the controller reads the object
        """Wake the controller: what happened before the list is unknown."""
        self.wake()

    def on_change(self, item: None, *, gone: bool) -> None:  # noqa: ARG002 - the controller reads the object
        """Wake the controller."""
        self.wake()

    def on_error(self, error: Exception) -> None:
        """Log a watch that failed."""
        self.log.write("warning", "watch_failed", object=self.name, error=str(error))

    def on_recovery(self) -> None:
        """Do nothing: each failure was logged."""


@contextmanager
def watch_objects(
    client: Client, names: Names, loop: Controller, log: JsonLog, metrics: MetricsAndProbes
) -> Iterator[None]:
    """Watch both objects for the length of a block."""
    watchers = [
        Reflector(client, one_object(path, name), lambda _: None, WakeOnChange(loop.wake, name, log))
        for path, name in (
            (names.secrets_path, names.secret),
            (names.configurations_path, names.configuration),
        )
    ]
    metrics.alive = lambda: all(watcher.is_alive() for watcher in watchers)
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.stop()
        for watcher in watchers:
            # One that is just connecting ends with the process.
            watcher.join(ENDING)


def status(options: Options, *, as_json: bool) -> int:
    """Print what is valid until when and what is next; returns 0 if all is in order, 3 if not.

    Raises ClusterError where there is no cluster to look for.
    """
    clock: Clock = SystemClock()
    try:
        with closing(_reader()) as reader:
            observed = read_objects(reader, options.names)
    except (ApiError, Unreachable) as error:
        print(f"multus-eni certs status: {error}", file=sys.stderr)
        return 1
    here = clock.now()
    now = Now(here.wall if observed.time is None else observed.time, here.steady)
    seen = seen_since(SeenSince(), observed.state, now.steady)
    action = next_action(observed.state, seen, now, options.settings)
    found = report(observed.state, action, now.wall, options.settings)
    print(json.dumps(found, indent=2) if as_json else to_text(found), end="\n" if as_json else "")
    return 0 if found["inOrder"] and isinstance(action, Wait) else 3


def _client() -> Client:
    return Client(find_cluster(), "multus-eni-certs", REMEDIES)


def _reader() -> Reader:
    """Return a client that only reads: a pod's own, or on a laptop one that knows every kubeconfig."""
    if in_pod():
        return _client()
    from common.kube.kubeconfig_client import KubeconfigClient  # noqa: PLC0415 - the image lacks its library

    return KubeconfigClient("multus-eni-certs")


def _server(metrics: MetricsAndProbes, options: Options) -> ProbeServer:
    try:
        return ProbeServer(metrics.registry, metrics.probes, options.host, options.port)
    except OSError as error:
        raise ClusterError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror}"
        ) from error
