"""Events on nodes, NodeNetworks and pods, for `kubectl describe`: what has become ready or is refused.

Thread: the loop's. An Event that can't be written is logged once and lost: conditions say the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common.kube.backoff import REST, SLOW
from common.kube.client import Client
from common.kube.errors import ApiError, KubeError
from common.kube.timestamps import timestamp
from common.kube.write_backoff import WriteBackoff
from common.shorten import shortened
from common.token_bucket import BucketsByKey, Rate, TokenBucket
from ipagent.controller.model.condition import FALSE, TRUE, Condition
from ipagent.controller.model.node_attachment import SUBNET_CHANGED
from ipagent.log import Log
from ipagent.node_network_api import HOST_ADDRESS, STANDING_BY

DEFAULT = "default"
"""The namespace of Events on objects without one."""
RATE = Rate(burst=50, refill=1)
OF_A_SUBJECT = Rate(burst=10, refill=1 / 60)
"""Of one object: a node whose interface goes up and down leaves room for the Events on others."""
COMPONENT = "multus-eni-controller"
MAX_MESSAGE = 1000
"""Characters; the API server takes 1024 bytes (events.k8s.io/v1 Event, `note`)."""
MAX_SUBJECT = 200
"""Characters of its subject's name in an Event's, which may have 253."""
WARNINGS = (HOST_ADDRESS, SUBNET_CHANGED)
"""Reasons of conditions that are met, and still ask for something."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an Event is about."""

    api_version: str
    kind: str
    name: str
    uid: str
    namespace: str = ""

    @property
    def path(self) -> str:
        """Where its Events are."""
        return f"/api/v1/namespaces/{self.namespace or DEFAULT}/events"


def news(before: Mapping[str, Condition], now: Mapping[str, Condition]) -> tuple[str, Condition] | None:
    """Return the type and content of an Event for a change of conditions.

    Ready is news, and so is a step that EC2 or the node has refused, or that the node warns of. What is only
    under way is not, nor is a node that stands by.
    """
    ready = now.get("Ready")
    if ready is None:
        return None
    known = {each.reason for each in before.values()}
    warnings = [each for each in now.values() if each.reason in WARNINGS and each.reason not in known]
    if warnings:
        return "Warning", warnings[0]
    old = before.get("Ready")
    if ready.status == TRUE:
        return None if old is not None and old.status == TRUE else ("Normal", ready)
    refused = next((each for kind, each in now.items() if kind != "Ready" and each.status == FALSE), None)
    if refused is None or refused.reason == STANDING_BY:
        return None
    if (refused.status, refused.reason) in {(e.status, e.reason) for e in before.values()}:
        return None
    return "Warning", refused


class EventWriter:
    """Writes Events; the same one again counts up. Too many are left out, and those after a slow failure."""

    def __init__(
        self, client: Client, instance: str, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._client = client
        self._instance = instance
        self._log = log
        self._bucket = TokenBucket(RATE)
        self._of_subjects: BucketsByKey[Subject] = BucketsByKey(OF_A_SUBJECT)
        self._counts: dict[str, int] = {}
        self._failed = False
        self._refused = WriteBackoff()

    def write(self, about: Subject, kind: str, reason: str, message: str) -> None:
        """Write an Event now."""
        now = self._clock()
        if self._refused.due(COMPONENT, now) > now:
            return
        if not self._of_subjects.of(about).take(now) or not self._bucket.take(now):
            return
        digest = hashlib.sha256(f"{about}{reason}{message}".encode()).hexdigest()[:16]
        name = f"{about.name[:MAX_SUBJECT].rstrip('-.')}.{digest}"
        try:
            self._write(about.path, name, self._body(name, about, kind, reason, message))
            self._failed = False
            self._refused.accept(COMPONENT)
        except KubeError as error:
            took = self._clock() - now
            # Each Event would hold up the loop, by the timeout of an admission webhook, for example.
            if took >= SLOW or not error.of_one_object:
                rest = REST if error.of_one_object else 0.0
                self._refused.refuse(COMPONENT, now + took, took=took, rest=rest)
            if not self._failed:
                self._failed = True
                self._log.warning("events-failed", message=f"{error}; conditions say the same")

    def _write(self, path: str, name: str, body: dict[str, Any]) -> None:
        try:
            self._client.create(path, f"write Event {name}", body)
            self._counts[name] = 1
        except ApiError as error:
            if not error.conflict:
                raise
            self._counts[name] = self._counts.get(name, 1) + 1
            patch = {"count": self._counts[name], "lastTimestamp": body["lastTimestamp"]}
            self._client.merge(f"{path}/{name}", f"write Event {name}", patch, manager=COMPONENT)
        if len(self._counts) > 1000:
            self._counts.clear()

    def _body(self, name: str, about: Subject, kind: str, reason: str, message: str) -> dict[str, Any]:
        now = timestamp()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": about.namespace or DEFAULT},
            "involvedObject": {
                **({"namespace": about.namespace} if about.namespace else {}),
                "apiVersion": about.api_version,
                "kind": about.kind,
                "name": about.name,
                "uid": about.uid,
            },
            "type": kind,
            "reason": reason,
            "message": shortened(message, MAX_MESSAGE) or reason,
            "source": {"component": COMPONENT, "host": self._instance},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
