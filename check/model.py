"""The snapshot of a cluster that checks look at. Data only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from common.object_fields import as_list, as_map

Object = Mapping[str, Any]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "Node": "/api/v1/nodes",
        "Namespace": "/api/v1/namespaces",
        "Pod": "/api/v1/pods",
        "ConfigMap": "/api/v1/configmaps",
        "Secret": "/api/v1/secrets",
        "Event": "/api/v1/events",
        "LimitRange": "/api/v1/limitranges",
        "ResourceQuota": "/api/v1/resourcequotas",
        "Deployment": "/apis/apps/v1/deployments",
        "DaemonSet": "/apis/apps/v1/daemonsets",
        "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
        "MutatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        "NetworkAttachmentDefinition": "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions",
        "NodeSlicePool": "/apis/whereabouts.cni.cncf.io/v1alpha1/nodeslicepools",
        "NodeNetwork": "/apis/multus-eni.io/v1alpha1/nodenetworks",
        "NodeAttachment": "/apis/multus-eni.io/v1alpha1/nodeattachments",
        "Lease": "/apis/coordination.k8s.io/v1/leases",
    }
)
"""What a snapshot holds: kind -> the API's path of all objects of that kind."""

DRY_RUN = "dry run"
NODE_STATUS = "node status"
AWS = "AWS"
RESERVATIONS = "subnet CIDR reservations"
ENDPOINTS = "VPC endpoints"
GROUPS = "security groups"
"""Sources beside the kinds: a pod created with dryRun=All, `ipagent node status`, EC2."""


REGION = "topology.kubernetes.io/region"
"""The label of nodes."""

DONE = ("Succeeded", "Failed")
"""Phases of a pod that has ended."""

MAX_WAITING = 300
"""Characters of what the kubelet says of a container that waits."""
ORDINARY = ("PodInitializing", "ContainerCreating", "CrashLoopBackOff")
"""Reasons for which a container waits without its image or its settings being at fault (kubelet)."""


class Verdict(StrEnum):
    """What a check has found."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


class NotApplicable(Exception):
    """The check has nothing to look at; the text says why."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One object of the API; what it lacks reads as empty."""

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    body: Object

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone where it has no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def metadata(self) -> Object:
        """Its `metadata`, of which name, namespace, labels and annotations are fields."""
        return as_map(self.body.get("metadata"))

    @property
    def spec(self) -> Object:
        """Its `spec`."""
        return as_map(self.body.get("spec"))

    @property
    def status(self) -> Object:
        """Its `status`."""
        return as_map(self.body.get("status"))


def text_of(value: object) -> str:
    """Return a value that is a text, and an empty one for anything else."""
    return value if isinstance(value, str) else ""


def as_objects(value: object) -> list[Object]:
    """Return the objects of a list."""
    return [each for each in as_list(value) if isinstance(each, Mapping)]


def conditions_of(resource: Resource) -> dict[str, Object]:
    """Return the conditions of a status by their types."""
    return {text_of(each.get("type")): each for each in as_objects(resource.status.get("conditions"))}


def is_ready(pod: Resource) -> bool:
    """Return whether a pod has the condition Ready."""
    return conditions_of(pod).get("Ready", {}).get("status") == "True"


def why_waiting(pod: Resource, container: str = "") -> str:
    """Say why a pod is not placed, or a container of it not started, empty if neither; `container`: this one.

    A container that waits for others, or to be started again, does not count.
    """
    scheduled = conditions_of(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False" and not container:
        return f"{text_of(scheduled.get('reason'))}: {text_of(scheduled.get('message'))}"[:MAX_WAITING]
    for key in ("initContainerStatuses", "containerStatuses"):
        for each in as_objects(pod.status.get(key)):
            waiting = as_map(as_map(each.get("state")).get("waiting"))
            reason, message = text_of(waiting.get("reason")), text_of(waiting.get("message"))
            if container in ("", each.get("name")) and reason not in ("", *ORDINARY):
                return f"{reason}: {message}"[:MAX_WAITING] if message else reason
    return ""


def why_ended(pod: Resource) -> str:
    """Say why a container has failed and does not run, by the last line that it left; empty if none has.

    The kubelet takes the end of the log where a container leaves no message (terminationMessagePolicy).
    """
    for each in as_objects(pod.status.get("containerStatuses")):
        state = as_map(each.get("state"))
        last = as_map(state.get("terminated") or as_map(each.get("lastState")).get("terminated"))
        if last.get("exitCode") and "running" not in state:
            lines = text_of(last.get("message")).strip().splitlines()
            said = f": {_said(lines[-1])}" if lines else ""
            return f"it ended with exit code {last['exitCode']}{said}"[:MAX_WAITING]
    return ""


def _said(line: str) -> str:
    """Return the event and message of a log record of ours, and any other line as it is."""
    try:
        record = as_map(json.loads(line))
    except (ValueError, RecursionError):
        return line
    # Programs that log what they have caught name it `error`.
    event, message = text_of(record.get("event")), text_of(record.get("message") or record.get("error"))
    return f"{event}: {message}" if event and message else line


def why_down(pods: Iterable[Resource]) -> str:
    """Say in brackets why the first of some pods does not run that says why; empty if none does."""
    why = next((found for pod in pods if (found := why_waiting(pod) or why_ended(pod))), "")
    return f" ({why})" if why else ""


def node_name(pod: Resource) -> str:
    """Return the node that a pod is bound to, empty before that."""
    return text_of(pod.spec.get("nodeName"))


def pod_spec(workload: Resource) -> Object:
    """Return the `spec` of a workload's pod template."""
    return as_map(as_map(workload.spec.get("template")).get("spec"))


def seconds_since_epoch(value: object) -> float | None:
    """Return a time of the API (RFC 3339) in seconds since 1970, None for anything else."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def count(value: Any) -> int:
    """Return a number of a status, where 0 is left out."""
    return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class DryRun:
    """What became of a Multus pod that was created with dryRun=All; `message` is the API server's refusal."""

    namespace: str
    injected: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Aws:
    """What EC2 shows of the nodes: objects of its API, in the form of `aws ec2 describe-… --output json`.

    `endpoints` and `route_tables` are those of the nodes' VPCs, `groups` the endpoints' security groups.
    """

    network_interfaces: tuple[Object, ...] = ()
    instances: tuple[Object, ...] = ()
    instance_types: tuple[Object, ...] = ()
    subnets: tuple[Object, ...] = ()
    reservations: tuple[Object, ...] = ()
    endpoints: tuple[Object, ...] = ()
    route_tables: tuple[Object, ...] = ()
    groups: tuple[Object, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cluster at `now` (seconds since 1970).

    `missing` says by kind, or by one of the sources above, why nothing is known of it. `unserved` are kinds
    that the API server does not have. `node_statuses` are by node what `ipagent node status` answers there.
    `partial` are kinds of which only the objects of the namespace that the user asks about may be read.
    """

    now: float
    resources: Mapping[str, tuple[Resource, ...]] = field(default_factory=dict)
    version: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    unserved: frozenset[str] = frozenset()
    dry_run: DryRun | None = None
    node_statuses: Mapping[str, Object] = field(default_factory=dict)
    aws: Aws = Aws()
    partial: frozenset[str] = frozenset()

    def all(self, kind: str) -> tuple[Resource, ...]:
        """Return all objects of a kind."""
        return self.resources.get(kind, ())


@dataclass(frozen=True, slots=True)
class Scope:
    """What the user asks about: all namespaces or one, all pods or one of that namespace.

    `pre`: only what has to be in order before the injector is installed.
    """

    namespace: str = ""
    pod: str = ""
    pre: bool = False
