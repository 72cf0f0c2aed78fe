"""Usage reporter: writes to this node's NodeAttachments what its pods have, in the background.

Threads: one of its own writes, the informer's follows NodeAttachments, the main loop's calls `observe`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from common.kube.backoff import pause_after_failure
from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from common.kube.informer import Informer
from common.kube.reflector import Target
from ipagent.assign.release import Pair
from ipagent.log import Log
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.model.pool_addresses import PoolAddresses
from ipagent.node.reconcile.usage import (
    MAX_ADDRESSES,
    Usage,
    UsageAttachment,
    pool_of,
    read_attachment,
    usage_body,
    usage_of,
)
from ipagent.node_network_names import ATTACHMENTS, NODE_MANAGER, of_node

GATHER = 0.3
"""Seconds for which changes are gathered: a Deployment's pods come together."""
ENDING = 2.0
GONE = 404


class _Attachments(Informer[UsageAttachment]):
    """This node's NodeAttachments; a failing watch is told by the reporter, as a failing write is."""

    def __init__(
        self,
        client: Client,
        node: str,
        notify: Callable[[Collection[str]], None],
        report: Callable[[Exception], None],
        log: Log,
    ) -> None:
        target = Target(ATTACHMENTS, f"the NodeAttachments of node {node}", of_node(node))
        super().__init__(client, target, read_attachment, notify, log)
        self._report = report

    def on_error(self, error: Exception) -> None:
        """Pass the failure on; the reflector tries again."""
        self._report(error)


class UsageReporter(threading.Thread):
    """Reports from `start` to `stop`, as soon as the node's pods are known; `pool` is for any thread."""

    def __init__(self, client: Client, node: str, log: Log) -> None:
        super().__init__(name="usage", daemon=True)
        self._client = client
        self._log = log
        self._attachments = _Attachments(client, node, self._on_attachments, self._failed, log)
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._changed = False
        self._pods: tuple[Pod, ...] | None = None
        self._owners: Mapping[Pair, PodKey] = {}
        self._failure = ""
        self._cut: set[str] = set()
        # When a report had no answer: others come first, since a webhook may hang for this one alone.
        self._unanswered: dict[str, float] = {}
        self._pool: PoolAddresses | None = None

    def observe(self, pods: Iterable[Pod], owners: Mapping[Pair, PodKey]) -> None:
        """Take what the pods are and whose the wanted addresses are; returns at once."""
        listed = tuple(pods)
        with self._wake:
            # `owners` is replaced with each change, never altered.
            if listed == self._pods and owners is self._owners:
                return
            self._pods, self._owners = listed, owners
            self._notify()

    def pool(self) -> PoolAddresses | None:
        """Return the secondary addresses that stay on their ENIs; None as long as they are not known."""
        return self._pool

    @property
    def alive(self) -> bool:
        """Whether both of its threads go on: without them no address is reclaimed, and capacity stays."""
        return self.is_alive() and self._attachments.alive

    def stop(self) -> None:
        """Let it end; join it afterwards."""
        self._stopping.set()
        self._attachments.stop()
        with self._wake:
            self._notify()

    def run(self) -> None:
        """Report what differs."""
        self._attachments.start()
        failures = 0
        while not self._stopping.is_set():
            with self._wake:
                self._wake.wait_for(lambda: self._changed or self._stopping.is_set())
                self._changed = False
            self._stopping.wait(GATHER)
            try:
                self._report()
                failures, self._failure = 0, ""
            except (ApiError, Unreachable, ClusterError) as error:
                failures += 1
                self._failed(error)
                self._stopping.wait(pause_after_failure(failures, random.random()))  # noqa: S311 - no secret
                self._changed = True
        self._attachments.join(ENDING)

    def _report(self) -> None:
        with self._wake:
            pods, owners = self._pods, self._owners
        if pods is None:
            return
        refused: ApiError | None = None
        known = self._attachments.items()
        self._unanswered = {name: at for name, at in self._unanswered.items() if name in known}
        for each in sorted(known.values(), key=lambda each: self._unanswered.get(each.name, 0.0)):
            if not each.report:
                continue
            usage = usage_of(each, pods, owners)
            self._log_left_out(each.name, usage)
            if usage == each.reported or self._stopping.is_set():
                continue
            try:
                self._write(each, usage)
            except ApiError as error:
                # What is refused of one holds up no other.
                refused = refused or error
            except Unreachable:
                self._unanswered[each.name] = time.monotonic()
                raise
            else:
                self._unanswered.pop(each.name, None)
        if refused is not None:
            raise refused

    def _write(self, attachment: UsageAttachment, usage: Usage) -> None:
        name = attachment.name
        path, what = f"{ATTACHMENTS}/{name}/status", f"report the pods of NodeAttachment {name}"
        try:
            self._client.apply(path, what, usage_body(name, usage), manager=NODE_MANAGER, force=True)
        except ApiError as error:
            # Deleted a moment ago, which the watch does not show yet.
            if error.code != GONE:
                raise

    def _log_left_out(self, name: str, usage: Usage) -> None:
        """Log once of each NodeAttachment that it can't name all addresses."""
        if usage.left_out and name not in self._cut:
            self._cut.add(name)
            text = (
                f"The pods of this node have {usage.left_out} addresses more than the {MAX_ADDRESSES} that "
                f"NodeAttachment {name} can name: on the ENI the controller takes these for nobody's, and "
                "counts less capacity; run fewer pods on the node"
            )
            self._log.warning("usage-failed", message=text)

    def _failed(self, error: Exception) -> None:
        """Log a failure once; it is tried again."""
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning("usage-failed", message=f"{error}; capacity stays as it is, it is tried again")

    def _on_attachments(self, _names: Collection[str]) -> None:
        self._pool = pool_of(self._attachments.items().values())
        with self._wake:
            self._notify()

    def _notify(self) -> None:
        self._changed = True
        self._wake.notify()
