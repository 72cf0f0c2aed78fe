"""Does the controller work, and has it given the nodes their ENIs?"""

from __future__ import annotations

from collections.abc import Iterator

from check.checks.installation import unready_replicas
from check.cluster import Cluster
from check.model import (
    NotApplicable,
    Object,
    Resource,
    Verdict,
    conditions_of,
    count,
    seconds_since_epoch,
)
from check.results import Check, Problem
from check.shell_commands import describe_command, describe_pods_command
from ipagent.node_network_api import HOST_ADDRESS, LEASE, STANDING_BY

LEASE_SLACK = 30
"""Seconds: a dump's files are not all of the same moment, and clocks differ."""
READY = "Ready"
ATTACH_TIME = 180
"""Seconds in which the controller creates and attaches an ENI and its link comes up."""


def _controller(cluster: Cluster) -> Iterator[Problem]:
    controller = cluster.required_installation().controller
    if controller is None:
        raise NotApplicable("the controller of node networks is not installed (controller.enabled)")
    yield from unready_replicas(cluster, controller, "controller")
    leases = {each.key: each.spec for each in cluster.all("Lease")}
    key = f"{controller.namespace}/{LEASE}"
    lease = leases.get(key)
    if not lease or not lease.get("holderIdentity"):
        text = f"no replica of {controller.key} leads: the Lease {key} has no holder"
        yield _of_controller(controller, text)
        return
    renewed = seconds_since_epoch(lease.get("renewTime"))
    age = cluster.snapshot.now - renewed if renewed is not None else None
    if age is None or age > count(lease.get("leaseDurationSeconds")) + LEASE_SLACK:
        when = "never" if age is None else f"{age:.0f} s ago"
        holder = lease["holderIdentity"]
        text = f"no replica of {controller.key} leads: {holder} renewed the Lease {key} {when}"
        yield _of_controller(controller, text)


def _of_controller(controller: Resource, text: str) -> Problem:
    return Problem(text, describe_pods_command(controller.namespace, "controller"))


def _networks(cluster: Cluster) -> Iterator[Problem]:
    networks, attachments = cluster.all("NodeNetwork"), cluster.all("NodeAttachment")
    if not networks and not attachments:
        raise NotApplicable("there are no NodeNetworks")
    for network in networks:
        for kind, each in conditions_of(network).items():
            if kind != READY and each.get("status") == "False":
                text = f"NodeNetwork {network.name}: {kind}: {each.get('reason')}: {each.get('message')}"
                yield Problem(text, describe_command("NodeNetwork", network.name))
    for attachment in attachments:
        ready = conditions_of(attachment).get(READY)
        if ready and _is_missing(ready) and _lasts(ready, cluster.snapshot.now):
            text = f"NodeAttachment {attachment.name}: {ready.get('reason')}: {ready.get('message')}"
            yield Problem(text, describe_command("NodeAttachment", attachment.name))


def _is_missing(ready: Object) -> bool:
    """Return whether a node lacks what it should have: one that stands by should not."""
    return ready.get("status") != "True" and ready.get("reason") != STANDING_BY


def _lasts(condition: Object, now: float) -> bool:
    since = seconds_since_epoch(condition.get("lastTransitionTime"))
    return since is None or now - since > ATTACH_TIME


def _host(cluster: Cluster) -> Iterator[Problem]:
    attachments = cluster.all("NodeAttachment")
    if not attachments:
        raise NotApplicable("only node networks (controller.enabled) report the nodes' interfaces")
    for attachment in attachments:
        for each in conditions_of(attachment).values():
            if each.get("reason") == HOST_ADDRESS:
                text = f"NodeAttachment {attachment.name}: {each.get('message')}"
                yield Problem(text, describe_command("NodeAttachment", attachment.name))


CONTROLLER = Check(
    "installation-controller",
    "the controller of node networks is ready and one replica leads",
    "read kubectl describe and the logs of its pods: the right to the Lease, or the path to the API server",
    _controller,
    needs=("Deployment", "Lease"),
)

NETWORKS = Check(
    "nodes-networks",
    "node networks are permitted, and their ENIs attached",
    "the message says what to do; docs/networks.md explains each reason",
    _networks,
    needs=("NodeNetwork", "NodeAttachment"),
)

HOST = Check(
    "nodes-host",
    "nodes leave pods' addresses to the pods",
    "set nodeAgent.unmanageLinks, or configure the node's network manager: docs/networks.md",
    _host,
    Verdict.WARNING,
    needs=("NodeAttachment",),
)
