"""`ipagent controller` as a process: puts the parts together, from the options to the exit code.

Thread: the main thread; probes and metrics are asked by threads of their own.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from common.agent_settings import Credentials, LogFormat, LogLevel
from common.exit_codes import ExitCode
from common.kube.client import Client
from common.kube.errors import NOT_AUTHENTICATED
from common.kube.lease import LeaderElection, timings_for
from common.kube.rest_config import find_cluster
from common.probes import ProbeServer
from common.python_gc import end_startup
from common.stop_signals import block_stop_signals, on_stop_signal
from common.version import VERSION
from ipagent.assign.addresses import IPNetwork
from ipagent.assign.errors import BadUsage
from ipagent.controller.ec2.client import ControllerEc2Client
from ipagent.controller.ec2.executor import Executor
from ipagent.controller.eip.controller import EipController
from ipagent.controller.kube.eni_users import list_users
from ipagent.controller.kube.events import EventWriter
from ipagent.controller.kube.informers import Informers
from ipagent.controller.kube.networks_map import NetworksMap
from ipagent.controller.kube.pod_conditions import PodConditionWriter
from ipagent.controller.kube.relay_responses import ResponseWriter
from ipagent.controller.kube.slice_pools import SlicePools
from ipagent.controller.kube.writer import Writer
from ipagent.controller.loop import Eips, Loop, Relay
from ipagent.controller.model.eips import Grants
from ipagent.controller.model.state import Releases, State
from ipagent.controller.observe.metrics import Relayed, Snapshot, registry
from ipagent.controller.reconcile.call_rate_limiter import MAX_IN_FLIGHT
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.relay.controller import RelayController
from ipagent.log import Log
from ipagent.main_loop import end_with
from ipagent.node_network_api import LEASE

PROGRAM = "multus-eni-controller"
REMEDIES = {
    401: NOT_AUTHENTICATED,
    403: "grant the ServiceAccount what docs/networks.md lists for the controller",
    404: "are the CRDs of the chart installed?",
}
KEEP_SECONDS = 60.0
STUCK_SECONDS = 300.0
"""How long one turn of the loop may take: writes for a thousand nodes after a long outage."""
ENDING = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    cluster: str
    region: str
    namespace: str
    lease_duration: float = 15.0
    releases: Releases = Releases.ON
    credentials: Credentials = Credentials.CHAIN
    eips: Grants = field(default_factory=dict)
    """Which Elastic IPs the pods of each namespace may have; none: pods are not watched."""
    relay: bool = False
    """Whether calls are made that node agents ask for."""
    allowed: tuple[IPNetwork, ...] = ()
    """Outside of these they can have no address assigned; empty: no limit."""
    host: str = "127.0.0.1"
    port: int = 0
    networks_map: str = ""
    """ConfigMap for the webhook; empty where pods request no capacity."""
    slice_namespace: str = ""
    """Of whereabouts' NodeSlicePools; empty where none are written."""
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.AUTO


def run(options: Options, env: Mapping[str, str]) -> int:
    """Lead, or wait until it leads, until SIGTERM; returns the exit code.

    A replica that has lost its Lease ends, and its container starts again: it has nothing to forget.
    """
    log = Log(level=options.log_level, form=options.log_format)
    stop = threading.Event()
    block_stop_signals()
    try:
        with ExitStack() as stack:
            process = _Process(options, env, log, stop, stack)
            on_stop_signal(process.end)
            end_startup()
            return process.run()
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        return end_with(log, error)


class _Process:
    """The parts and how they hang together; what has to be closed is on the stack."""

    def __init__(
        self, options: Options, env: Mapping[str, str], log: Log, stop: threading.Event, stack: ExitStack
    ) -> None:
        self._log = log
        self._stop = stop
        self._stack = stack
        self._acquired = threading.Event()
        identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        cluster, timings = find_cluster(env), timings_for(options.lease_duration)
        self._client = stack.enter_context(closing(Client(cluster, PROGRAM, REMEDIES, keep=KEEP_SECONDS)))
        # A renewal that hangs, as on a connection that is cut without a word, leaves time for another try.
        renewing = Client(cluster, PROGRAM, REMEDIES, keep=KEEP_SECONDS, timeout=max(timings.renew / 3, 2.0))
        self._ec2 = stack.enter_context(
            closing(ControllerEc2Client(options.region, options.credentials, MAX_IN_FLIGHT))
        )
        self._election = LeaderElection(
            stack.enter_context(closing(renewing)),
            namespace=options.namespace,
            name=LEASE,
            identity=identity,
            on_change=self._wake,
            on_error=lambda error: log.warning("lease-failed", message=str(error)),
            timings=timings,
        )
        self._informers = Informers(
            self._client,
            self._changed,
            log,
            eips=bool(options.eips),
            definitions=bool(options.networks_map),
        )
        may = lambda: self._election.leading  # noqa: E731 - asked from several places
        events = EventWriter(self._client, identity, log)
        writer = Writer(self._client, events, log, may)
        self._writer = writer
        self._conditions = PodConditionWriter(self._client, events, log, may)
        self._eips = Eips(EipController(options.eips), self._conditions) if options.eips else None
        controller = Controller(State(options.cluster, releases=options.releases))
        self._loop = Loop(controller, self._informers, writer, log, time.monotonic)
        self._loop.eips = self._eips
        self._responses = ResponseWriter(self._client, log, may)
        if options.relay:
            self._loop.relay = Relay(RelayController(options.allowed), self._responses, time.time)
        if options.networks_map:
            self._loop.networks_map = NetworksMap(
                self._client, options.namespace, options.networks_map, log, may
            )
        if options.slice_namespace:
            self._loop.slice_pools = SlicePools(self._client, options.slice_namespace, log, may)
        probes = {"/livez": self._alive, "/readyz": lambda: True}
        try:
            server = ProbeServer(registry(self._snapshot), probes, options.host, options.port)
        except OSError as error:
            raise BadUsage(
                f"cannot listen on {options.host} port {options.port}: {error.strerror}",
                "Set controller.port to a free port.",
            ) from None
        stack.enter_context(server)
        log.info(
            "started",
            message=f"ipagent {VERSION} controls the node networks of cluster {options.cluster} in "
            f"{options.region}, releases {options.releases}; probes on port {server.port}",
        )

    def run(self) -> int:
        """Wait for the Lease, then lead."""
        self._election.start()
        while not self._stop.is_set() and not self._acquired.is_set():
            self._acquired.wait(1.0)
        leads = not self._stop.is_set()
        if leads:
            self._lead()
        lost = self._election.lost
        # Before all else ends: node agents wait for the next one.
        self._election.stop()
        self._election.join(ENDING)
        if leads:
            self._informers.stop(ENDING)
        self._log.info("stopped", message="The Lease is lost" if lost else "The Lease is given back")
        return ExitCode.INTERNAL if lost and not self._stop.is_set() else ExitCode.OK

    def end(self) -> None:
        """End soon. Thread: the signals'."""
        self._stop.set()
        self._wake()

    def _lead(self) -> None:
        self._log.info("leading", message="This replica leads")
        executor = Executor(
            self._ec2.execute,
            lambda call: list_users(self._client, call),
            lambda: self._election.leading,
            self._loop.wakes.soon,
        )
        with closing(executor):
            self._informers.start()
            self._loop.run(executor, self._stop, lambda: self._election.leading)

    def _changed(self, nodes: Collection[str]) -> None:
        self._loop.wakes.changed(nodes)

    def _wake(self) -> None:
        if self._election.led:
            self._acquired.set()
        self._loop.wakes.soon()

    def _alive(self) -> bool:
        if not self._election.is_alive() and not self._stop.is_set():
            return False
        if not self._election.leading:
            return True
        return time.monotonic() - self._loop.turned < STUCK_SECONDS and self._informers.alive

    def _snapshot(self) -> Snapshot:
        recent = [each.recent for each in (self._writer, self._conditions, self._responses)]
        return Snapshot(
            leading=self._election.leading,
            plan=self._loop.plan,
            busy=tuple(self._loop.controller.state.busy.values()),
            calls=dict(self._ec2.calls),
            write_failures=sum(each.failures for each in recent),
            failing_writes=sum(each.waiting for each in recent),
            eips=self._eips.plan if self._eips is not None else None,
            relayed=self._relayed(),
        )

    def _relayed(self) -> Relayed | None:
        if self._loop.relay is None:
            return None
        controller = self._loop.relay.controller
        waiting = Counter(each.value for each in tuple(controller.waiting.values()))
        unanswered = {action.value: count for action, count in dict(controller.unanswered).items()}
        return Relayed(waiting, unanswered, controller.durations.histograms())
