"""Do Multus pods have the agent, and their addresses?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from check.checks.pod_networks import NETWORKS, SANDBOXES
from check.cluster import Cluster
from check.model import (
    NODE_STATUS,
    Object,
    Resource,
    Verdict,
    as_objects,
    conditions_of,
    seconds_since_epoch,
    text_of,
    why_waiting,
)
from check.pod_status import addresses_of, has_agent
from check.results import Check, Problem, listed, one_line
from check.shell_commands import (
    describe_command,
    edit_command,
    node_status_command,
    replace_pod_command,
    shell_command,
    show_endpoints_command,
)
from common.agent_container import CONTAINER_NAME
from common.exit_codes import ExitCode
from common.object_fields import as_map
from common.pod_keys import INJECTION, Injection
from ipagent.assign import errors
from ipagent.assign.addresses import IPAddress
from webhook.core.reasons import Reason

INSUFFICIENT = re.compile(r"Insufficient multus-eni\.io/([a-z0-9-]{1,63})")
"""What the scheduler says of a resource that nodes lack (NodeResourcesFit)."""
ABOUT_US = ("multus-eni.io", CONTAINER_NAME, "runAsUser: Invalid value: 65534")
"""In refusals of a workload for the agent's sake: of the webhook and the chart's policies; of quotas and Pod
Security, which name the container; of OpenShift's SecurityContextConstraints, which name its user."""
NO_ANSWER = "failed calling webhook"
"""What the API server says where the webhook did not answer."""
PATIENCE = 180
"""Seconds in which an autoscaler starts a node and the controller attaches its ENIs."""

MEANINGS: Mapping[int, str] = {
    ExitCode.INTERNAL: "it has a bug, or may not open netlink sockets",
    ExitCode.USAGE: "its settings can't be used",
    ExitCode.NO_IMDS: "IMDS can't be used",
    ExitCode.NO_CREDENTIALS: "it has no valid AWS credentials",
    ExitCode.NO_PERMISSION: "its identity lacks a right",
    ExitCode.NO_ENI: "no ENI can carry an address, or an interface is missing",
    ExitCode.ENI_FULL: "the ENI or its subnet is full",
    ExitCode.HELD_ELSEWHERE: "another ENI has the address",
    ExitCode.ADDRESS_REFUSED: "the address can't or must not be assigned",
    ExitCode.DEADLINE: "not everything was assigned in time",
    ExitCode.EC2_UNREACHABLE: "EC2 can't be reached",
    ExitCode.NODE_AGENT_UNREACHABLE: "the node agent can't be reached",
    ExitCode.NOT_GRANTED: "the node agent refuses an address or the pod",
}
"""docs/agent.md, "Exit codes"."""
REMEDIES: Mapping[int, str] = {
    error.exit_code: error.remedy
    for error in (
        errors.NoImds,
        errors.NoCredentials,
        errors.NoPermission,
        errors.NoEni,
        errors.EniFull,
        errors.HeldElsewhere,
        errors.AddressRefused,
        errors.Deadline,
        errors.Ec2Unreachable,
        errors.NotGranted,
    )
}
"""What the agent itself tells the user to do."""


def _without_agent(cluster: Cluster) -> Iterator[Problem]:
    cluster.injector()
    pods = {pod.key: pod for pod in cluster.pods}
    labelled = {each.name for each in cluster.all("Namespace") if INJECTION in each.labels}
    for key, each in cluster.explanations.items():
        if each.missing and each.reason is not Reason.ALREADY_INJECTED:
            text = f"{key} has no agent{f', and would be refused: {each.refusal}' if each.refusal else ''}"
            # A pod that would be refused must not be deleted: nothing would come back.
            yield Problem(
                text, describe_command("Pod", key) if each.refusal else replace_pod_command(pods[key])
            )
        elif each.reason is Reason.NOT_OPTED_IN and _asks(pods[key]):
            label = ("kubectl", "label", "namespace", each.namespace, f"{INJECTION}={Injection.ENABLED}")
            # kubectl changes no label that is there, and `disabled` is there on purpose.
            command = "" if each.namespace in labelled else shell_command(*label)
            yield Problem(f"{key} has no agent: {each.message}", command)


def _asks(pod: Resource) -> bool:
    return pod.labels.get(INJECTION) == Injection.ENABLED and not has_agent(pod)


def _old_agent(cluster: Cluster) -> Iterator[Problem]:
    cluster.injector()
    pods = {pod.key: pod for pod in cluster.pods}
    for key, each in cluster.explanations.items():
        if each.missing and each.reason is Reason.ALREADY_INJECTED:
            warnings = "; ".join(text.removeprefix("multus-eni: ") for text in each.warnings)
            yield Problem(f"{key}: {warnings}", replace_pod_command(pods[key]))


def _exits(cluster: Cluster) -> Iterator[Problem]:
    for pod in (*cluster.pods, *cluster.failed_pods):
        for status in as_objects(pod.status.get("initContainerStatuses")):
            if status.get("name") == CONTAINER_NAME:
                yield from _exit(pod, as_map(status.get("state")), as_map(status.get("lastState")))
        if waiting := why_waiting(pod, CONTAINER_NAME):
            yield Problem(
                f"{pod.key}: the agent does not start: {one_line(waiting)}", describe_command("Pod", pod.key)
            )


def _exit(pod: Resource, state: Object, last: Object) -> Iterator[Problem]:
    ended = as_map(state.get("terminated") or last.get("terminated"))
    code = ended.get("exitCode", 0)
    if state.get("running") or not code or not isinstance(code, int):
        return
    meaning = f" ({MEANINGS[code]})" if code in MEANINGS else ""
    message = str(ended.get("message") or REMEDIES.get(code, ""))
    why = f": {one_line(message)}" if message else ""
    text = f"{pod.key}: the agent ended with exit code {code}{meaning}{why}"
    # Of one that waits to be started again, the log is that of the last try.
    last_one = [] if state.get("terminated") else ["--previous"]
    yield Problem(
        text, shell_command("kubectl", "logs", "-n", pod.namespace, pod.name, "-c", CONTAINER_NAME, *last_one)
    )


def _refused(cluster: Cluster) -> Iterator[Problem]:
    for event in cluster.events("FailedCreate"):
        message = str(event.body.get("message") or "")
        if any(each in message for each in ABOUT_US):
            involved = as_map(event.body.get("involvedObject"))
            name = f"{involved.get('kind')} {involved.get('namespace')}/{involved.get('name')}"
            ours = cluster.installation.namespace if NO_ANSWER in message else ""
            show = show_endpoints_command(ours) if ours else _show(involved)
            yield Problem(f"{name} can't create pods: {one_line(message)}", show)


def _show(involved: Object) -> str:
    kind, namespace, name = (text_of(involved.get(key)) for key in ("kind", "namespace", "name"))
    return shell_command("kubectl", "describe", kind.lower(), "-n", namespace, name)


def _duplicates(cluster: Cluster) -> Iterator[Problem]:
    holders: dict[IPAddress, list[str]] = defaultdict(list)
    networks: dict[IPAddress, str] = {}
    local = {network.key for network in cluster.networks if network.is_local}
    for pod in cluster.pods:
        for network, address in addresses_of(pod):
            if network not in local and pod.key not in holders[address]:
                holders[address].append(pod.key)
                networks[address] = network
    for address, pods in holders.items():
        if len(pods) > 1:
            # One without a definition is a file of the nodes.
            known = networks[address] in {network.key for network in cluster.networks}
            show = edit_command("NetworkAttachmentDefinition", networks[address]) if known else ""
            yield Problem(f"{address} is in {' and '.join(pods)}: only one of them gets its traffic", show)


def _events(cluster: Cluster) -> Iterator[Problem]:
    latest: dict[str, str] = {}
    for event in sorted(
        cluster.events("AddressConflict", "AddressNotAssigned", "AddressWarning", "AddressAssigned"),
        key=lambda each: str(each.body.get("lastTimestamp") or ""),
    ):
        involved = as_map(event.body.get("involvedObject"))
        latest[f"{involved.get('namespace')}/{involved.get('name')}"] = (
            "" if event.body.get("type") == "Normal" else one_line(str(event.body.get("message") or ""))
        )
    for key, message in latest.items():
        if message:
            yield Problem(f"{key}: {message}", describe_command("Pod", key))


def _addresses(cluster: Cluster) -> Iterator[Problem]:
    wanted = {pod.key for pod in cluster.pods}
    for node, status in sorted(cluster.snapshot.node_statuses.items()):
        for each in as_objects(status.get("addresses")):
            if each.get("state") == "failed" and text_of(each.get("pod")) in wanted:
                text = f"{each['pod']}: {each.get('address')} on {node}: {one_line(str(each.get('reason')))}"
                yield Problem(text, node_status_command(cluster, node))


def _capacity(cluster: Cluster) -> Iterator[Problem]:
    waiting: dict[str, list[str]] = defaultdict(list)
    for pod in cluster.pods:
        scheduled = conditions_of(pod).get("PodScheduled", {})
        since = seconds_since_epoch(scheduled.get("lastTransitionTime"))
        lasts = since is None or cluster.snapshot.now - since > PATIENCE
        if scheduled.get("status") == "False" and lasts:
            for network in sorted(set(INSUFFICIENT.findall(str(scheduled.get("message") or "")))):
                waiting[network].append(pod.key)
    for network, pods in sorted(waiting.items()):
        text = f"no node has an address of {network} left for {listed(pods)}"
        yield Problem(text, "kubectl get nodeattachments -o yaml")


PODS = (
    Check(
        "pods-agent",
        "Multus pods have the agent",
        "replace the pod: kubectl rollout restart, or delete it if its controller makes another; the webhook "
        "injects at creation only",
        _without_agent,
        needs=("Pod", "Namespace"),
    ),
    Check(
        "pods-old-agent",
        "pods' agents are current",
        "replace the pod: kubectl rollout restart, or delete it if its controller makes another",
        _old_agent,
        Verdict.WARNING,
        needs=("Pod", "Namespace", "ConfigMap"),
    ),
    Check(
        "pods-exits",
        "no pod's agent fails",
        "docs/agent.md explains each exit code; kubectl logs POD -c multus-eni-agent --previous",
        _exits,
        needs=("Pod",),
    ),
    Check(
        "pods-refused",
        "no workload's pods are refused",
        "correct the label or annotation that the message names (multus-eni explain checks it beforehand); "
        "for a quota, Pod Security or a webhook that does not answer see docs/troubleshooting.md",
        _refused,
        needs=("Event",),
    ),
    NETWORKS,
    Check(
        "pods-capacity",
        "nodes have addresses for all pods",
        "add nodes, or free addresses: kubectl get nodeattachments -o yaml shows under slots what nodes have",
        _capacity,
        needs=("Pod",),
    ),
    SANDBOXES,
    Check(
        "pods-duplicates",
        "no address is in two pods",
        "give each network a range of its own, and use one IPAM for the whole cluster",
        _duplicates,
        needs=("Pod",),
        pre=True,
    ),
    Check(
        "pods-addresses",
        "pods' addresses are assigned",
        "do what the reason says; ipagent node status, in the node agent's pod, shows more",
        _addresses,
        needs=(NODE_STATUS,),
    ),
    Check(
        "pods-events",
        "node agents report no problems with pods",
        "kubectl describe pod shows the whole message, which says what to do",
        _events,
        Verdict.WARNING,
        needs=("Event", "Pod"),
    ),
)
