"""Informers of nodes, NodeNetworks and NodeAttachments.

Thread: one of its own for each kind writes; the loop's takes copies.
"""

from __future__ import annotations

from collections.abc import Callable

from common.kube.client import Client
from common.kube.informer import Informer
from common.kube.reflector import Target
from ipagent.controller.model.attachment import Attachment, read_attachment
from ipagent.controller.model.network import NodeNetwork, read_network
from ipagent.controller.model.node import Node, read_node
from ipagent.log import Log
from ipagent.networkapi import ATTACHMENTS, NETWORKS


class Informers:
    """All that the controller watches, from `start` to `stop`; `notify` is called after each change."""

    def __init__(self, client: Client, notify: Callable[[], None], log: Log) -> None:
        changed = lambda _: notify()  # noqa: E731 - for each kind
        self.nodes: Informer[Node] = Informer(
            client, Target("/api/v1/nodes", "nodes"), read_node, changed, log
        )
        self.networks: Informer[NodeNetwork] = Informer(
            client, Target(NETWORKS, "nodenetworks"), read_network, changed, log
        )
        self.attachments: Informer[Attachment] = Informer(
            client, Target(ATTACHMENTS, "nodeattachments"), read_attachment, changed, log
        )
        self._all = (self.nodes, self.networks, self.attachments)

    def start(self) -> None:
        """List and watch."""
        for informer in self._all:
            informer.start()

    def stop(self, seconds: float) -> None:
        """End; one that is just connecting ends with the process."""
        for informer in self._all:
            informer.stop()
        for informer in self._all:
            informer.join(seconds)

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed."""
        return all(informer.synced for informer in self._all)

    @property
    def alive(self) -> bool:
        """Whether all threads live."""
        return all(informer.alive for informer in self._all)
