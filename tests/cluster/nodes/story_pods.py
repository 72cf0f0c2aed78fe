"""Pods and their owners as the API server has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.agent_container import CONTAINER_NAME
from tests.cluster.api import Manifest
from tests.cluster.namespaces import mode_of
from tests.cluster.nodes.story_cloud import normal

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, slots=True)
class Running:
    """A pod as the API server has it."""

    object: Manifest

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Its uid."""
        return str(self.object["metadata"]["uid"])

    @property
    def node(self) -> str:
        """The node that it is bound to, empty before that."""
        return str(self.object["spec"].get("nodeName", ""))

    @property
    def address(self) -> str | None:
        """The address of its eth0, as which EC2 sees it, None before it has one."""
        address: str | None = self.object["status"].get("podIP")
        return address

    @property
    def mode(self) -> str | None:
        """The mode of the injected agent, None without one."""
        return mode_of(self.object)

    @property
    def qos(self) -> str:
        """The QoS class that the API server has stored."""
        return str(self.object["status"]["qosClass"])

    @property
    def leaving(self) -> bool:
        """Whether it is being deleted."""
        return "deletionTimestamp" in self.object["metadata"]

    @property
    def ready(self) -> bool:
        """Whether it is Ready, and not on its way out."""
        conditions = self.object["status"].get("conditions", [])
        return not self.leaving and any(
            each["type"] == "Ready" and each["status"] == "True" for each in conditions
        )

    @property
    def attachments(self) -> list[dict[str, Any]]:
        """The pod's Multus interfaces, as Multus has written them into its network-status."""
        written = self.object["metadata"].get("annotations", {}).get(NETWORK_STATUS, "[]")
        return [each for each in json.loads(written) if not each.get("default")]

    @property
    def networks(self) -> dict[str, list[str]]:
        """The addresses by Multus interface."""
        return {
            each["interface"]: [normal(address) for address in each.get("ips", [])]
            for each in self.attachments
        }

    @property
    def agent(self) -> Mapping[str, Any]:
        """The status of the injected container, empty as long as there is none."""
        statuses = self.object["status"].get("initContainerStatuses", [])
        return next((each for each in statuses if each["name"] == CONTAINER_NAME), {})

    @property
    def app_started(self) -> bool:
        """Whether the app's container has ever been started."""
        return any(
            "waiting" not in each["state"] or each.get("lastState")
            for each in self.object["status"].get("containerStatuses", [])
        )


def restarts(pods: list[Running]) -> int:
    """Return how often containers of these pods were started again."""
    statuses = [
        status
        for each in pods
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in each.object["status"].get(kind, ())
    ]
    return sum(status["restartCount"] for status in statuses)


def wanted(owner: Manifest) -> int:
    """Return how many pods a Deployment, DaemonSet or StatefulSet is to have."""
    number: int = (
        owner["status"]["desiredNumberScheduled"]
        if owner["kind"] == "DaemonSet"
        else owner["spec"].get("replicas", 1)
    )
    return number


def rolled_out(owner: Manifest) -> bool:
    """Return whether a Deployment, DaemonSet or StatefulSet has all of its newest pods available."""
    status = owner.get("status", {})
    if status.get("observedGeneration", 0) < owner["metadata"]["generation"]:
        return False
    keys = ("updatedReplicas", "availableReplicas", "replicas")
    if owner["kind"] == "DaemonSet":
        keys = ("updatedNumberScheduled", "numberAvailable", "currentNumberScheduled")
    return [status.get(key, 0) for key in keys] == [wanted(owner)] * 3
