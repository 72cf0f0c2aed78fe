"""`ipagent links` as a process: follows this node's NodeAttachments and its interfaces, until SIGTERM.

Threads: the main thread runs `Links.run`; the probe server's call `busy_seconds`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from prometheus_client import Gauge

from common.agent_settings import LogFormat, LogLevel
from common.kube.client import Client
from common.kube.errors import NOT_AUTHENTICATED
from common.kube.informer import Informer
from common.kube.reflector import Target
from common.kube.rest_config import find_cluster
from common.metrics import process_registry
from common.probes import ProbeServer
from common.python_gc import end_startup
from common.version import VERSION
from ipagent.assign.errors import AgentError, BadUsage
from ipagent.interrupting_signals import InterruptingSignals
from ipagent.links.apply import LinkSetter
from ipagent.links.cni_files import CniFiles, ReservationWatcher
from ipagent.links.kernel import DeviceSocket
from ipagent.links.networkd import NetworkFiles
from ipagent.links.node_attachments import LinkAttachment, read_attachment
from ipagent.links.plan import LinkStatus, WantedLink
from ipagent.links.reporter import LinkStatusReporter
from ipagent.log import Log
from ipagent.main_loop import TurnLoop, Wakeup, run_daemon, run_until_end
from ipagent.netlink.sockets import KernelError
from ipagent.node_network_api import ATTACHMENTS, of_node

PROGRAM = "multus-eni-links"
REMEDIES = {
    401: NOT_AUTHENTICATED,
    403: "grant the ServiceAccount what docs/security.md lists for links",
    404: "install the CustomResourceDefinitions: the chart does with controller.enabled",
}
STUCK_SECONDS = 60.0
"""How long one turn may take: a write to an API server that does not answer takes half of it."""
KEEP_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """What the command line and the environment say; `port` is that of probes and metrics.

    `networkd` is the folder with systemd-networkd's files, None to leave it alone.
    """

    node: str
    host: str
    port: int
    cni_folder: Path | None
    networkd: Path | None
    log_level: LogLevel
    log_format: LogFormat


def run(given: Options, env: Mapping[str, str]) -> int:
    """Work until SIGTERM; returns the exit code."""
    log = Log(level=given.log_level, form=given.log_format)
    return run_daemon(log, partial(_run, given, env, log), "the interfaces stay as they are")


def _run(given: Options, env: Mapping[str, str], log: Log, signals: InterruptingSignals) -> None:
    """Put the parts together, and go on until `StopSignal`."""
    with ExitStack() as stack:
        client = Client(find_cluster(env), PROGRAM, REMEDIES, keep=KEEP_SECONDS)
        stack.callback(client.close)
        try:
            kernel = stack.enter_context(DeviceSocket())
        except KernelError as error:
            raise AgentError(str(error)) from None
        links = Links(kernel, given, client, log)
        informer = links.informer
        probes = {
            "/livez": lambda: links.busy_seconds() < STUCK_SECONDS and informer.alive,
            "/readyz": lambda: informer.synced,
        }
        try:
            server = ProbeServer(links.registry, probes, given.host, given.port)
        except OSError as error:
            raise BadUsage(
                f"cannot listen on {given.host} port {given.port}: {error.strerror}",
                "Another process of the node has it: choose another --port.",
            ) from None
        stack.enter_context(server)
        run_until_end(links.watcher, stack)
        run_until_end(informer, stack)
        end_startup()
        log.info("started", message=f"ipagent {VERSION} sets up the interfaces of {given.node}")
        links.run(signals)


class Links:
    """Sets up the interfaces at each change of the kernel's or of the NodeAttachments, and reports them."""

    def __init__(self, kernel: DeviceSocket, given: Options, client: Client, log: Log) -> None:
        target = Target(ATTACHMENTS, f"the NodeAttachments of node {given.node}", of_node(given.node))
        self.informer: Informer[LinkAttachment] = Informer(
            client, target, read_attachment, self._on_change, log
        )
        self._changed: deque[str] = deque()
        self._wakeup = Wakeup()
        self._turns = TurnLoop(self._turn, time.monotonic)
        self._kernel = kernel
        self._networkd = None if given.networkd is None else NetworkFiles(given.networkd, log)
        self._names: dict[str, str] = {}
        self._former: dict[str, str] = {}
        self._setter = LinkSetter(kernel, time.monotonic, log)
        self._files = CniFiles(given.cni_folder, time.monotonic, log)
        self.watcher = ReservationWatcher(self._files, self._wakeup.set)
        self._reporter = LinkStatusReporter(client, time.monotonic, log)
        self._log = log
        self.registry = process_registry()
        self._states = Gauge(
            "multus_eni_links",
            "NodeAttachments of this node by the state of their interface.",
            ["state"],
            registry=self.registry,
        )

    def busy_seconds(self) -> float:
        """Return for how long one turn has been going on; 0.0 while it waits. Thread: any."""
        return self._turns.busy_seconds()

    def run(self, signals: InterruptingSignals) -> NoReturn:
        """Turn until `StopSignal` is raised."""
        self._turns.run(signals, self._kernel.fileno(), self._wakeup.fileno())

    def _on_change(self, names: Collection[str]) -> None:
        """Note which NodeAttachments have changed. Thread: the informer's."""
        self._changed.extend(names)
        self._wakeup.set()

    def _turn(self) -> float | None:
        """Do what is due; returns the seconds until more is, None if only a change makes more."""
        self._wakeup.clear()
        while self._changed:
            self._reporter.forget(self._changed.popleft())
        attachments = self.informer.items()
        if not self.informer.synced:
            return None
        wanted = [self._with_former_name(each.wanted) for each in attachments.values()]
        if self._networkd is not None:
            self._networkd.sync(wanted)
        try:
            self._kernel.drain()
            found = self._setter.apply(wanted)
        except KernelError as error:
            raise AgentError(f"the node's interfaces can't be read: {error}") from None
        statuses = self._with_pools(attachments, dict(zip(attachments, found, strict=True)))
        self._count(statuses)
        pauses = [
            self._setter.retry_in(),
            self._files.retry_in(),
            self._reporter.report(attachments, statuses),
        ]
        return min((each for each in pauses if each is not None), default=None)

    def _with_pools(
        self, attachments: Mapping[str, LinkAttachment], statuses: Mapping[str, LinkStatus]
    ) -> dict[str, LinkStatus]:
        """Write the CNI configurations of networks of prefixes, and complete the statuses by their pools."""
        pools = {
            name: (each.pool, statuses[name]) for name, each in attachments.items() if each.pool is not None
        }
        self.watcher.networks = tuple(pool.network for pool, _ in pools.values())
        found = self._files.apply(pools)
        return {name: replace(status, pool=found.get(name)) for name, status in statuses.items()}

    def _with_former_name(self, wanted: WantedLink) -> WantedLink:
        """Complete it by the name that this process gave before, so that it is taken away."""
        name = self._names.get(wanted.attachment, wanted.name)
        if name != wanted.name:
            self._former[wanted.attachment] = name
        self._names[wanted.attachment] = wanted.name
        return replace(wanted, former=self._former.get(wanted.attachment, ""))

    def _count(self, statuses: Mapping[str, LinkStatus]) -> None:
        states = {"up": 0, "down": 0, "missing": 0}
        for each in statuses.values():
            states["up" if each.up else "down" if each.name else "missing"] += 1
        for state, number in states.items():
            self._states.labels(state).set(number)
