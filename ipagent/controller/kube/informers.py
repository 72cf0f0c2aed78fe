"""Informers of nodes, NodeNetworks, NodeAttachments and, if needed, other kinds.

Thread: one of its own for each kind writes; the loop's takes copies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from common.kube.client import Client
from common.kube.informer import Informer
from common.kube.reflector import Target
from common.pod_keys import EIP_LABEL
from ipagent.controller.model.eips import EipPod, read_pod
from ipagent.controller.model.net_attach_defs import Definition, read_definition
from ipagent.controller.model.node import Node, read_node
from ipagent.controller.model.node_attachment import Attachment, read_attachment
from ipagent.controller.model.node_network import NodeNetwork, read_network
from ipagent.log import Log
from ipagent.node_network_api import ATTACHMENTS, DEFINITIONS, NETWORKS

LABELLED_PODS = Target("/api/v1/pods", "pods that claim Elastic IPs", {"labelSelector": EIP_LABEL})


class Informers:
    """All that the controller watches, from `start` to `stop`.

    `notify` is called after each change, with the nodes or networks that it is about, if it is about some.
    With `eips` also the pods that claim Elastic IPs, with `definitions` NetworkAttachmentDefinitions.
    """

    def __init__(
        self,
        client: Client,
        notify: Callable[[Collection[str]], None],
        log: Log,
        *,
        eips: bool = False,
        definitions: bool = False,
    ) -> None:
        changed = lambda _: notify(())  # noqa: E731 - for each kind that is about neither
        networks = lambda names: notify({f"network {name}" for name in names})  # noqa: E731 - other than nodes
        owners = lambda names: notify({name.rpartition(".")[0] for name in names})  # noqa: E731 - NodeAttachments
        self.nodes: Informer[Node] = Informer(
            client, Target("/api/v1/nodes", "nodes"), read_node, notify, log
        )
        self.networks: Informer[NodeNetwork] = Informer(
            client, Target(NETWORKS, "nodenetworks"), read_network, networks, log
        )
        self.attachments: Informer[Attachment] = Informer(
            client, Target(ATTACHMENTS, "nodeattachments"), read_attachment, owners, log
        )
        self.pods: Informer[EipPod] = Informer(client, LABELLED_PODS, read_pod, changed, log)
        target = Target(DEFINITIONS, "network-attachment-definitions")
        self.definitions: Informer[Definition] = Informer(client, target, read_definition, changed, log)
        every: tuple[Informer[Any], ...] = (self.nodes, self.networks, self.attachments)
        self._needed = (*every, self.pods) if eips else every
        # Nothing about nodes rests on definitions, which a cluster without Multus does not even know.
        self._all = (*self._needed, self.definitions) if definitions else self._needed

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
        """Whether every kind has been listed that decisions about nodes rest on."""
        return all(informer.synced for informer in self._needed)

    @property
    def alive(self) -> bool:
        """Whether all threads live."""
        return all(informer.alive for informer in self._all)
