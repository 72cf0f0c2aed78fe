"""Which NetworkAttachmentDefinitions belong to which network: the ConfigMap that the webhook reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ipagent.controller.model.net_attach_defs import Definition
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.reconcile.node_network_status import owner_of_link_name

MAX_BYTES = 900_000
"""A ConfigMap has at most 1 MiB."""


def networks_of(definitions: Iterable[Definition], networks: Mapping[str, NodeNetwork]) -> dict[str, str]:
    """Return the network of each definition that is in one: by its annotation, else by its host interface.

    Only networks whose resource nodes advertise count: for another one no node would ever be found.
    """
    others = tuple(networks.values())
    serving = {
        name: network
        for name, network in networks.items()
        # Nodes go on advertising one that this release can't read.
        if network.requestable and not network.deleting and owner_of_link_name(network, others) is None
    }
    by_link = {network.link.name: name for name, network in serving.items()}
    found = {}
    for each in definitions:
        by_master = {by_link[master] for master in each.masters if master in by_link}
        if each.network:
            name = each.network if each.network in serving else None
        else:
            name = by_master.pop() if len(by_master) == 1 else None
        if name is not None:
            found[each.key] = name
    return found


def networks_text(found: Mapping[str, str]) -> str:
    """Return the file; what does not fit into a ConfigMap is left out, the last by name first."""
    kept, size = {}, 0
    for key in sorted(found):
        size += len(key) + len(found[key]) + 10
        if size > MAX_BYTES:
            break
        kept[key] = found[key]
    return json.dumps({"networks": kept}, indent=1)
