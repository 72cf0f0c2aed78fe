"""Informers of nodes, NodeNetworks and NodeAttachments.

Thread: one of its own for each kind writes; the loop's takes copies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from common.kube.client import Client
from common.kube.reflector import Reflector, Target
from ipagent.controller.model.attachment import Attachment, read_attachment
from ipagent.controller.model.network import NodeNetwork, read_network
from ipagent.controller.model.node import Node, read_node
from ipagent.log import Log
from ipagent.networkapi import ATTACHMENTS, NETWORKS

Item = TypeVar("Item")


class Informer(Generic[Item]):
    """The objects of one kind by name. An object that can't be read is left out, and logged."""

    def __init__(
        self,
        client: Client,
        target: Target,
        read: Callable[[Mapping[str, Any]], Item],
        notify: Callable[[], None],
        log: Log,
    ) -> None:
        self.synced = False
        self._target = target
        self._read = read
        self._notify = notify
        self._log = log
        self._lock = threading.Lock()
        self._items: dict[str, Item] = {}
        self.reflector = Reflector(client, target, self._take, self)

    def items(self) -> dict[str, Item]:
        """Return a copy."""
        with self._lock:
            return dict(self._items)

    def on_list(self, items: tuple[tuple[str, Item | None], ...]) -> None:
        """Replace everything."""
        with self._lock:
            self._items = {name: item for name, item in items if item is not None}
            self.synced = True
        self._notify()

    def on_change(self, item: tuple[str, Item | None], *, gone: bool) -> None:
        """Apply a change; who waits for one is woken only if something that counts is different."""
        name, found = item
        with self._lock:
            before = self._items.get(name)
            if gone or found is None:
                self._items.pop(name, None)
            else:
                self._items[name] = found
        if gone or found != before:
            self._notify()

    def on_error(self, error: Exception) -> None:
        """Log a watch that failed; it is repeated."""
        self._log.warning("watch-failed", message=str(error))

    def _take(self, found: Mapping[str, Any]) -> tuple[str, Item | None]:
        name = str(found["metadata"]["name"])
        try:
            return name, self._read(found)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{self._target.name} {name} can't be read and is left alone: {error!r}"
            self._log.warning("unreadable", message=message)
            return name, None


class Informers:
    """All that the controller watches, from `start` to `stop`; `notify` is called after each change."""

    def __init__(self, client: Client, notify: Callable[[], None], log: Log) -> None:
        self.nodes: Informer[Node] = Informer(
            client, Target("/api/v1/nodes", "nodes"), read_node, notify, log
        )
        self.networks: Informer[NodeNetwork] = Informer(
            client, Target(NETWORKS, "nodenetworks"), read_network, notify, log
        )
        self.attachments: Informer[Attachment] = Informer(
            client, Target(ATTACHMENTS, "nodeattachments"), read_attachment, notify, log
        )
        self._reflectors = (self.nodes.reflector, self.networks.reflector, self.attachments.reflector)

    def start(self) -> None:
        """List and watch."""
        for reflector in self._reflectors:
            reflector.start()

    def stop(self, seconds: float) -> None:
        """End; one that is just connecting ends with the process."""
        for reflector in self._reflectors:
            reflector.stop()
        for reflector in self._reflectors:
            reflector.join(seconds)

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed."""
        return self.nodes.synced and self.networks.synced and self.attachments.synced

    @property
    def alive(self) -> bool:
        """Whether all threads live."""
        return all(reflector.is_alive() for reflector in self._reflectors)
