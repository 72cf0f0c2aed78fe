"""Informer of this node's pods: one list, then a watch that goes on from there for the life of the process.

The list is one answer without `limit`: since Kubernetes 1.31 the API server takes it from its cache, by the
node's name (KEP-2340, consistent reads from cache), while pages are read from etcd through all pods of the
cluster. It is read one object at a time anyway.

What a list lacks counts as gone, so a list has to hold the agent's own pod: after `kubectl delete node`, for
example, it holds no pod at all while all containers go on.

Thread: one of its own, which calls `on_list` and `on_event`; `list_now` is for the main loop's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection

from common.kube.client import Client
from common.kube.errors import ClusterError
from common.kube.reflector import Reflector, Target
from common.object_fields import Object
from ipagent.log import Log
from ipagent.network_status_origin import written_through_status
from ipagent.node.model.network_status import network_status_text
from ipagent.node.model.pod import Pod, PodKey, read_pod

PODS = "/api/v1/pods"

PodName = tuple[str, str]
"""A pod's namespace and name."""

OnList = Callable[[tuple[Pod, ...]], None]
OnEvent = Callable[[Pod, bool], None]


class PodInformer:
    """Follows the node's pods from `start` to `stop`.

    `on_list` gets all pods of the node, `on_event` a pod that is new or has changed, with True one that is
    gone. Both are called one after the other, and must not wait. A change that nobody here reads is left out.
    `own` is the agent's own pod, without which a list is refused; None outside of a cluster.
    """

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        client: Client,
        node: str,
        on_list: OnList,
        on_event: OnEvent,
        log: Log,
        *,
        own: PodName | None = None,
    ) -> None:
        target = Target(PODS, f"the pods of node {node}", {"fieldSelector": f"spec.nodeName={node}"})
        statuses = VerifiedStatuses()
        deduplicator = _Deduplicator(on_list, on_event, log, statuses)
        self._reflector = _NodeReflector(client, target, statuses.read, deduplicator)
        self._reflector.own = own

    def start(self) -> None:
        """Begin with a list."""
        self._reflector.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._reflector.stop()

    def join(self, timeout: float) -> bool:
        """Wait for its end; False if it goes on after `timeout` seconds."""
        self._reflector.join(timeout)
        return not self._reflector.is_alive()

    @property
    def alive(self) -> bool:
        """Whether its thread goes on."""
        return self._reflector.is_alive()

    def age(self) -> float | None:
        """Return how many seconds ago the API server was last heard of; None before the first list.

        It sends bookmarks about once a minute, so that an age of several minutes means a watch that is stuck.
        """
        heard = self._reflector.heard
        return None if heard is None else time.monotonic() - heard

    def list_now(self) -> tuple[Pod, ...]:
        """Read the complete list as it is now; it blocks the caller's thread.

        Raises ApiError, Unreachable or ClusterError: nothing is known then.
        """
        _, found = self._reflector.read_all()
        return found


class VerifiedStatuses:
    """Reads pods, and remembers of each which network-status was proven to be Multus', and which was not.

    A proven value goes on counting when the API server has merged the managers who wrote it. A value that was
    seen without a proof never counts before it has changed: an update that leaves a value as it is does not
    pass it to another manager, so a proof that comes later was written into managedFields by hand.
    """

    def __init__(self) -> None:
        self._proven: dict[PodKey, bytes] = {}
        self._unproven: dict[PodKey, bytes] = {}

    def read(self, obj: Object) -> Pod:
        """Read a Kubernetes Pod object. Thread: any."""
        pod, text = read_pod(obj), network_status_text(obj)
        if not text:
            return pod
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        if digest == self._proven.get(pod.key):
            return read_pod(obj, verified=True)
        if written_through_status(obj) and digest != self._unproven.get(pod.key):
            self._proven[pod.key] = digest
            return pod
        self._unproven[pod.key] = digest
        return read_pod(obj, verified=False)

    def retain(self, living: Collection[PodKey]) -> None:
        """Forget all other pods."""
        for digests in (self._proven, self._unproven):
            for key in [key for key in list(digests) if key not in living]:
                digests.pop(key, None)


class _NodeReflector(Reflector[Pod]):
    """A reflector that refuses a list without the agent's own pod: it is not complete."""

    own: PodName | None = None

    def read_all(self) -> tuple[str, tuple[Pod, ...]]:
        version, pods = super().read_all()
        if self.own and not any((pod.key.namespace, pod.key.name) == self.own for pod in pods):
            name = "/".join(self.own)
            raise ClusterError(f"the API server's list of this node's pods lacks the agent's own pod {name}")
        return version, pods


class _Deduplicator:
    """Passes on what differs from what was passed on before, and logs a failure once."""

    def __init__(self, on_list: OnList, on_event: OnEvent, log: Log, statuses: VerifiedStatuses) -> None:
        self._on_list = on_list
        self._on_event = on_event
        self._log = log
        self._statuses = statuses
        self._known: dict[PodKey, Pod] = {}
        self._failure = ""

    def on_list(self, items: tuple[Pod, ...]) -> None:
        self._known = {pod.key: pod for pod in items}
        self._statuses.retain(self._known)
        self._on_list(items)

    def on_change(self, item: Pod, *, gone: bool) -> None:
        if gone:
            self._known.pop(item.key, None)
            self._statuses.retain(self._known)
        elif self._known.get(item.key) == item:
            return
        else:
            self._known[item.key] = item
        self._on_event(item, gone)

    def on_error(self, error: Exception) -> None:
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning(
                "watch-failed", message=f"{error}; the known pods stay, and the watch is retried"
            )

    def on_recovery(self) -> None:
        if self._failure:
            self._failure = ""
            self._log.info("watch-back", message="the API server answers about this node's pods again")
