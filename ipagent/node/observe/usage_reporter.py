"""Usage reporter: writes to this node's NodeAttachments what its pods have, in the background.

Threads: one of its own writes, the informer's follows NodeAttachments, the main loop's calls `observe`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from common.kube.backoff import MAX_PAUSE, REST, pause_after_failure
from common.kube.client import Client
from common.kube.errors import ApiError, KubeError, Unreachable
from common.kube.informer import Informer
from common.kube.reflector import Target
from common.kube.write_backoff import WriteBackoff
from ipagent.assign.release import Pair
from ipagent.log import Log
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.model.pool_addresses import PoolAddresses
from ipagent.node.reconcile.usage import (
    MAX_ADDRESSES,
    PodUsage,
    UsageAttachment,
    pool_of,
    read_attachment,
    usage_body,
    usage_of,
)
from ipagent.node_network_api import ATTACHMENTS, NODE_MANAGER, of_node

GATHER = 0.3
"""Seconds for which changes are gathered: a Deployment's pods come together."""
MAX_LOGGED = 64
"""Failures that are remembered as logged."""
ENDING = 2.0


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
        # Failures that were logged since all was well.
        self._logged: set[str] = set()
        self._cut: set[str] = set()
        self._refused = WriteBackoff()
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
        failures, pause = 0, None
        while not self._stopping.is_set():
            with self._wake:
                self._wake.wait_for(lambda: self._changed or self._stopping.is_set(), pause)
                self._changed = False
            self._stopping.wait(GATHER)
            try:
                pause = self._report()
                failures = 0
            except KubeError as error:
                failures += 1
                self._failed(error)
                self._stopping.wait(pause_after_failure(failures, random.random()))  # noqa: S311 - no secret
                self._changed = True
        self._attachments.join(ENDING)

    def _report(self) -> float | None:
        """Report what differs; returns the seconds until what was refused is due again, None if nothing was.

        One that is refused, or for which a webhook hangs, holds up no other; raises what concerns all.
        """
        with self._wake:
            pods, owners = self._pods, self._owners
        if pods is None:
            return None
        now = time.monotonic()
        known = {name: each for name, each in self._attachments.items().items() if each.report}
        self._refused.retain(known.keys())
        for name, each in sorted(known.items(), key=lambda pair: self._refused.rank(pair[0])):
            if self._stopping.is_set():
                break
            if self._refused.due(name, now) > now:
                continue
            began = time.monotonic()
            try:
                self._report_one(each, pods, owners)
            except KubeError as error:
                ended = time.monotonic()
                if not error.of_one_object:
                    if isinstance(error, Unreachable):
                        self._refused.record_unanswered(name, ended)
                    raise
                self._failed(error)
                chance = random.random()  # noqa: S311 - no secret
                took = ended - began
                self._refused.refuse(name, ended, chance, longest=MAX_PAUSE, took=took, rest=REST)
            else:
                self._refused.accept(name)
        if not len(self._refused):
            self._logged.clear()
            return None
        now = time.monotonic()
        return min(self._refused.due(name, now) for name in known if name in self._refused) - now

    def _report_one(
        self, attachment: UsageAttachment, pods: Iterable[Pod], owners: Mapping[Pair, PodKey]
    ) -> None:
        try:
            self._write(attachment, usage_of(attachment, pods, owners))
        except ApiError as error:
            if not error.conflict:
                raise
            # Others have changed it while it was written: what it says by now is compared, once.
            if (fresh := self._read(attachment.name)) is not None and fresh.report:
                self._write(fresh, usage_of(fresh, pods, owners))

    def _read(self, name: str) -> UsageAttachment | None:
        try:
            return read_attachment(self._client.get(f"{ATTACHMENTS}/{name}", f"read {name}").object)
        except ApiError as error:
            if not error.not_found:
                raise
            return None

    def _write(self, attachment: UsageAttachment, usage: PodUsage) -> None:
        """Write it if it differs from what is reported."""
        name = attachment.name
        self._log_left_out(name, usage)
        if usage == attachment.reported:
            return
        path, what = f"{ATTACHMENTS}/{name}/status", f"report the pods of NodeAttachment {name}"
        try:
            body = usage_body(name, usage)
            patience = self._refused.patience(name)
            self._client.apply(path, what, body, manager=NODE_MANAGER, force=True, patience=patience)
        except ApiError as error:
            # Deleted a moment ago, which the watch does not show yet.
            if not error.not_found:
                raise

    def _log_left_out(self, name: str, usage: PodUsage) -> None:
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
        if str(error) not in self._logged:
            if len(self._logged) >= MAX_LOGGED:
                self._logged.clear()
            self._logged.add(str(error))
            self._log.warning("usage-failed", message=f"{error}; capacity stays as it is, it is tried again")

    def _on_attachments(self, _names: Collection[str]) -> None:
        self._pool = pool_of(self._attachments.items().values())
        with self._wake:
            self._notify()

    def _notify(self) -> None:
        self._changed = True
        self._wake.notify()
