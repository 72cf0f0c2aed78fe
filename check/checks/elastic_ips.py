"""Do pods have the Elastic IPs that they claim?"""

from __future__ import annotations

from collections.abc import Iterator

from check.cluster import Cluster
from check.model import NotApplicable, conditions_of, seconds_since_epoch
from check.results import Check, Problem
from check.shell_commands import describe_command
from common.pod_keys import EIP, EIP_CONDITION

PATIENCE = 180
"""Seconds in which the controller sees a pod's address on its ENI and associates the Elastic IP."""


def _claims(cluster: Cluster) -> Iterator[Problem]:
    pods = [pod for pod in cluster.pods if pod.annotations.get(EIP)]
    if not pods:
        raise NotApplicable("no pod claims an Elastic IP")
    for pod in pods:
        condition = conditions_of(pod).get(EIP_CONDITION, {})
        since = seconds_since_epoch(condition.get("lastTransitionTime") or pod.status.get("startTime"))
        if condition.get("status") == "True" or since is None or cluster.snapshot.now - since <= PATIENCE:
            continue
        if condition:
            text = f"{pod.key}: {condition.get('reason')}: {condition.get('message')}"
        else:
            text = f"{pod.key} claims {pod.annotations[EIP]}, and the controller has not set its condition"
        yield Problem(text, describe_command("Pod", pod.key))


ELASTIC_IPS = Check(
    "pods-elastic-ips",
    "pods have the Elastic IPs that they claim",
    "the message says what to do, docs/elastic-ips.md explains each reason; without a condition set "
    "controller.eips, or find out why no replica of the controller leads",
    _claims,
    needs=("Pod",),
)
