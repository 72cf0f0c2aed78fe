"""Writes the ConfigMap that tells the webhook which NetworkAttachmentDefinitions belong to which network.

Thread: the loop's. The ConfigMap is the chart's, so that the right to create some is not needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from common.kube.backoff import next_try
from common.kube.client import Client
from common.kube.errors import KubeError
from common.pod_keys import NETWORKS_FILE
from ipagent.log import Log
from ipagent.node_network_api import CONTROLLER_MANAGER

AGAIN = 10.0
"""Seconds after a write that has failed, at least."""
LOOK = 300.0
"""Seconds after which the ConfigMap is compared again: it is not watched."""


@dataclass(slots=True)
class NetworksMap:
    """The ConfigMap `name` of a namespace; `may` is asked whether this replica still leads."""

    client: Client
    namespace: str
    name: str
    log: Log
    may: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    _written: str | None = None
    _due: float = 0.0
    _failure: str = ""

    def write(self, text: str, now: float) -> float:
        """Write it if it says anything else; returns when to come again (monotonic seconds)."""
        if now < self._due and (self._failure or text == self._written):
            return self._due
        if not self.may():
            return float("inf")
        began = self.clock()
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{self.name}"
        try:
            found = self.client.get(path, f"read ConfigMap {self.name}").object
            if (found.get("data") or {}).get(NETWORKS_FILE) != text:
                # Of the version that was read: the next leader may have written it meanwhile.
                version = found["metadata"]["resourceVersion"]
                body = {"metadata": {"resourceVersion": version}, "data": {NETWORKS_FILE: text}}
                self.client.merge(path, f"write ConfigMap {self.name}", body, manager=CONTROLLER_MANAGER)
        except KubeError as error:
            if str(error) != self._failure:
                self._failure = str(error)
                self.log.warning("networks-failed", message=f"{error}; new pods may request no capacity")
            took = self.clock() - began
            self._due = next_try(now, took, AGAIN, of_one_object=error.of_one_object)
            return self._due
        self._written, self._due, self._failure = text, now + LOOK, ""
        return self._due
