"""`ipagent node` as a process: puts the parts together, from the settings to the exit code.

Thread: the main thread; `_snapshot`, `_status`, `_alive` and `_review` are called by the threads that ask.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.agent_settings import ENV_HOST_IP, ENV_NODE_NAME, ENV_POD_NAME, ENV_POD_NAMESPACE
from common.kube.client import Client
from common.kube.errors import NOT_AUTHENTICATED, KubeError
from common.kube.rest_config import find_cluster
from common.open_files_limit import raise_descriptor_limit
from common.probes import ProbeServer
from common.python_gc import end_startup
from common.version import VERSION
from ipagent.assign.errors import AgentError, BadUsage
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni
from ipagent.aws.node_cloud import NodeCloud
from ipagent.interrupting_signals import InterruptingSignals
from ipagent.log import Log
from ipagent.main_loop import Part, Wakeup, end_with, run_daemon, run_until_end
from ipagent.node.central.cloud import CentralCloud
from ipagent.node.central.relay import CallRelay
from ipagent.node.gc.checkpoint import Checkpoint
from ipagent.node.gc.collector import Collector
from ipagent.node.gc.undo_reclaim import ListingFailed
from ipagent.node.gc.verdict import GcResult
from ipagent.node.loop import Loop, log_events
from ipagent.node.model.address_events import AddressEvent
from ipagent.node.model.pod import Pod
from ipagent.node.model.pool_addresses import NO_POOL, PoolAddresses, with_pool
from ipagent.node.model.settings_readers import SettingsError
from ipagent.node.observe.condition_writer import ConditionWriter
from ipagent.node.observe.event_recorder import EventRecorder
from ipagent.node.observe.introspection import AgentState, StatusServer, document
from ipagent.node.observe.metrics import Metrics, Snapshot
from ipagent.node.observe.usage_reporter import UsageReporter
from ipagent.node.pod_informer import PodInformer, PodName
from ipagent.node.reconcile.batch_window import RelayedWindow
from ipagent.node.reconcile.controller import NodeController
from ipagent.node.sessions.auth import review_token
from ipagent.node.sessions.listener import listen
from ipagent.node.sessions.server import PodSessionServer
from ipagent.node.settings import NodeSettings, read_settings

PROGRAM = "multus-eni-node-agent"
REMEDIES = {
    401: NOT_AUTHENTICATED,
    403: "grant the ServiceAccount what docs/security.md lists for the node agent",
}
STUCK_SECONDS = 120.0
"""How long one turn of the loop may take: calls of EC2 that hang, for several ENIs."""
KEEP_SECONDS = 60.0
"""How long a connection to the API server is kept for the next TokenReview or Event."""
TIMING = Timing(time.monotonic, time.sleep, random.random)


@dataclass(frozen=True)
class Options:
    """What the command line and the environment say; `host` is the node's address, `own` the agent's pod."""

    settings: NodeSettings
    node: str
    host: str
    record: Path
    own: PodName | None = None


def options(config: Path, record: Path, env: Mapping[str, str]) -> Options:
    """Read the settings and what the downward API tells; raises BadUsage."""
    try:
        settings = read_settings(config.read_bytes())
    except OSError as error:
        raise BadUsage(f"{config} can't be read: {error.strerror}") from None
    except SettingsError as error:
        raise BadUsage(f"{config}: {error}") from None
    missing = [name for name in (ENV_NODE_NAME, ENV_HOST_IP) if not env.get(name)]
    if missing:
        raise BadUsage(
            f"{' and '.join(missing)} not set",
            "Give them by the downward API (spec.nodeName, status.hostIP), as the chart does.",
        )
    namespace, name = env.get(ENV_POD_NAMESPACE), env.get(ENV_POD_NAME)
    own = (namespace, name) if namespace and name else None
    return Options(settings, env[ENV_NODE_NAME], env[ENV_HOST_IP], record, own)


def run(config: Path, record: Path, env: Mapping[str, str]) -> int:
    """Work until SIGTERM; returns the exit code."""
    try:
        given = options(config, record, env)
    except AgentError as error:
        return end_with(Log(), error)
    log = Log(level=given.settings.log_level, form=given.settings.log_format)
    return run_daemon(log, partial(_run, given, env, log), "the addresses stay where they are")


def _run(given: Options, env: Mapping[str, str], log: Log, signals: InterruptingSignals) -> None:
    """Put the parts together, and go on until `StopSignal`."""
    raise_descriptor_limit()
    with ExitStack() as stack:
        agent = NodeAgent(given, env, log, stack)
        end_startup()
        port = "" if given.settings.watch_only else f", claims on {given.host} port {given.settings.port}"
        log.info("started", message=f"ipagent {VERSION} serves {given.node}{port}")
        agent.loop.run(signals)


class NodeAgent:
    """The parts and how they hang together; what has to be closed is on the stack. Raises AgentError."""

    def __init__(self, given: Options, env: Mapping[str, str], log: Log, stack: ExitStack) -> None:
        settings = given.settings
        self._given = given
        self._log = log
        self._client = Client(find_cluster(env), PROGRAM, REMEDIES, keep=KEEP_SECONDS)
        stack.callback(self._client.close)
        self._relay = (
            CallRelay(self._client, given.node, log, TIMING, time.time) if settings.central else None
        )
        self._cloud = stack.enter_context(closing(self._connect(env)))
        store = stack.enter_context(closing(Checkpoint(given.record, TIMING, log)))
        if not store.acquire():
            raise BadUsage(
                f"another node agent of this node has the folder {given.record}",
                "One may run on a node: `kubectl get daemonsets -A` shows the releases that have one; remove "
                "the one that is not meant. While a former one still ends, this one starts again by itself.",
            )
        self._usage = UsageReporter(self._client, given.node, log) if settings.node_networks else None
        self._collector = Collector(
            settings.rules,
            self._cloud,
            self,
            store,
            timing=TIMING,
            wall=time.time,
            log=log,
            pool=self._pool,
        )
        self._controller = NodeController(
            self._cloud,
            settings.grants,
            TIMING,
            log,
            self._collector,
            every_pod=settings.pod_condition,
            delegated=self._delegated,
            pool=self._pool,
            window=RelayedWindow() if settings.central else None,
        )
        wakeup = Wakeup()
        self.loop = Loop(self._controller, wakeup, self._age, self._report, TIMING.clock, own=given.own)
        self._reviews: Counter[str] = Counter()
        self._sessions = None if settings.watch_only else self._open(wakeup)
        self._metrics = Metrics(self._snapshot)
        self._recorder = EventRecorder(self._client, given.node, log)
        self._informer = PodInformer(
            self._client, given.node, self.loop.on_list, self.loop.on_event, log, own=given.own
        )
        self._start(stack)
        if self._relay is not None:
            run_until_end(self._relay, stack)
        if self._usage is not None:
            self._report_usage(self._usage, stack)

    def _connect(self, env: Mapping[str, str]) -> NodeCloud:
        settings, log, tagged = self._given.settings, self._log, self._given.settings.require_tag
        if self._relay is not None:
            return CentralCloud(env, self._relay, log, TIMING, require_tag=tagged)
        return NodeCloud(env, settings.credentials, log, TIMING, require_tag=tagged)

    def pods(self) -> tuple[Pod, ...]:
        """List the node's pods for a sweep; raises ListingFailed."""
        try:
            return self._informer.list_now()
        except KubeError as error:
            raise ListingFailed(str(error)) from error

    def _open(self, wakeup: Wakeup) -> PodSessionServer:
        given = self._given
        try:
            listener = listen(given.host, given.settings.port)
        except OSError as error:
            raise _taken(given.host, given.settings.port, "port", error) from None
        return PodSessionServer(
            listener, node=given.node, review=self._review, notify=wakeup.set, log=self._log
        )

    def _start(self, stack: ExitStack) -> None:
        given, port = self._given, self._given.settings.health_port
        probes = {"/livez": self._alive, "/readyz": lambda: self.loop.listed}
        try:
            server = ProbeServer(self._metrics.registry, probes, given.host, port)
        except OSError as error:
            raise _taken(given.host, port, "healthPort", error) from None
        stack.enter_context(server)
        stack.enter_context(StatusServer(given.record, self._status, self._log))
        if self._sessions is not None:
            self.loop.sessions = self._sessions
            self._sessions.start()
            stack.callback(self._sessions.close)
        threads: list[Part] = [self._recorder, self._informer]
        if given.settings.pod_condition:
            conditions = ConditionWriter(self._client, self._log)
            self.loop.conditions = conditions
            threads.insert(0, conditions)
        for part in threads:
            run_until_end(part, stack)

    def _pool(self) -> PoolAddresses | None:
        """Return the secondary addresses that stay on the node's ENIs; None as long as they are not known."""
        return NO_POOL if self._usage is None else self._usage.pool()

    def _delegated(self, macs: Collection[str]) -> Mapping[str, Eni]:
        """Ask IMDS for the prefixes of ENIs, and for the addresses that the node hands out in their place."""
        pool = self._pool() or NO_POOL
        return with_pool(self._cloud.delegated(macs), pool, self._cloud.metadata)

    def _report_usage(self, reporter: UsageReporter, stack: ExitStack) -> None:
        """Have the controller of node networks know what the pods have."""

        def observe() -> None:
            pods = self._controller.pods
            if pods is not None:
                reporter.observe(pods, self._controller.owners)

        self.loop.after_turn = observe
        run_until_end(reporter, stack)

    def _review(self, token: str) -> Mapping[str, Any]:
        result = "failed"
        try:
            status = review_token(self._client, token)
            result = "ok" if status.get("authenticated") is True else "refused"
            return status
        finally:
            self._reviews[f"reviews_{result}"] += 1

    def _age(self) -> float | None:
        return self._informer.age()

    def _alive(self) -> bool:
        """Whether the loop goes round, and the threads live without which nothing is noticed."""
        threads = [self._informer.alive, self._sessions is None or self._sessions.alive]
        threads.append(self._relay is None or self._relay.alive)
        threads.append(self._usage is None or self._usage.alive)
        return self.loop.busy_seconds() < STUCK_SECONDS and all(threads)

    def _report(self, events: list[AddressEvent]) -> None:
        log_events(self._log, events)
        self._metrics.count(events)
        self._recorder.record(events)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            items=self._controller.plan.items,
            conflicts=self._controller.conflicts,
            calls=self._cloud.calls,
            statuses=self._controller.statuses(),
            counts={**self._reviews, **(self._sessions.counts() if self._sessions else {})},
            watch_age=self._age(),
            candidates=self._collector.candidates,
            verdicts=self._collector.last.verdicts,
            events_dropped=self._recorder.dropped,
        )

    def _status(self) -> dict[str, Any]:
        last = self._collector.last
        known = AgentState(
            node=self._given.node,
            instance=self._cloud.instance_id,
            watch_age=self._age(),
            items=self._controller.plan.items,
            owners=self._controller.owners,
            mode=self._given.settings.rules.mode,
            swept=last != GcResult(),
            verdicts=last.verdicts,
            elastic_ips=self._controller.elastic_ips,
            silences={} if self._relay is None else self._relay.silences,
        )
        return document(known, TIMING.clock())


def _taken(host: str, port: int, key: str, error: OSError) -> BadUsage:
    return BadUsage(
        f"cannot listen on {host} port {port}: {error.strerror}",
        f"Another process of the node has it, or it is not an address of the node: set {key} to a free port.",
    )
