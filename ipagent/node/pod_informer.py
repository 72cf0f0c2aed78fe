"""Watches the pods of this node: one list, then a watch that goes on from there for the life of the process.

The list is one answer without `limit`: since Kubernetes 1.31 the API server takes it from its cache, by the
node's name (KEP-2340, consistent reads from cache), while pages are read from etcd through all pods of the
cluster. It is read one object at a time all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from common.kube.client import Client
from common.kube.reflector import Reflector, Target
from ipagent.log import Log
from ipagent.node.model.pod import Pod, PodKey, read_pod

PODS = "/api/v1/pods"

OnList = Callable[[tuple[Pod, ...]], None]
OnEvent = Callable[[Pod, bool], None]


class PodInformer:
    """Tells what pods there are and what becomes of them, from `start` to `stop`.

    `on_list` gets all pods of the node, `on_event` a pod that is new or has changed, with True one that is
    gone. Both are called by the watcher's thread, one after the other, and must not wait. What kubelets write
    and nobody here reads is not told.
    """

    def __init__(self, client: Client, node: str, on_list: OnList, on_event: OnEvent, log: Log) -> None:
        target = Target(PODS, f"the pods of node {node}", {"fieldSelector": f"spec.nodeName={node}"})
        self._teller = _Deduplicator(on_list, on_event, log)
        self._watcher = Reflector(client, target, read_pod, self._teller)

    def start(self) -> None:
        """Begin with a list."""
        self._watcher.start()

    def stop(self) -> None:
        """Let it end."""
        self._watcher.stop()

    def join(self, timeout: float) -> bool:
        """Wait for its end; False if it goes on after `timeout` seconds."""
        self._watcher.join(timeout)
        return not self._watcher.is_alive()

    @property
    def alive(self) -> bool:
        """Whether its thread goes on."""
        return self._watcher.is_alive()

    def age(self) -> float | None:
        """Tell how many seconds ago the API server was last heard of; None before the first list.

        It sends bookmarks about once a minute, so that an age of several minutes means a watch that is stuck.
        """
        heard = self._watcher.heard
        return None if heard is None else time.monotonic() - heard

    def list_now(self) -> tuple[Pod, ...]:
        """Read the complete list as it is now; for any thread, which it keeps waiting.

        Raises ApiError, Unreachable or ClusterError: nothing is known then.
        """
        _, found = self._watcher.read_all()
        return found


class _Deduplicator:
    """Passes on what differs from what was told before, and logs what goes wrong once."""

    def __init__(self, on_list: OnList, on_event: OnEvent, log: Log) -> None:
        self._on_list = on_list
        self._on_event = on_event
        self._log = log
        self._known: dict[PodKey, Pod] = {}
        self._failure = ""

    def listed(self, items: tuple[Pod, ...]) -> None:
        self._recovered()
        self._known = {pod.key: pod for pod in items}
        self._on_list(items)

    def changed(self, item: Pod, *, gone: bool) -> None:
        self._recovered()
        if gone:
            self._known.pop(item.key, None)
        elif self._known.get(item.key) == item:
            return
        else:
            self._known[item.key] = item
        self._on_event(item, gone)

    def failed(self, error: Exception) -> None:
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning("watch-failed", message=f"{error}; what was known stays, and it is tried again")

    def _recovered(self) -> None:
        if self._failure:
            self._failure = ""
            self._log.info("watch-back", message="the API server tells about this node's pods again")
