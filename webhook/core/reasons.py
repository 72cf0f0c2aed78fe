"""Reasons: why a pod was injected, left unchanged or refused. Each has one sentence and one remedy.

The values are metric labels, log fields and audit annotations, and `explain` prints them. Users rely on them:
never rename one.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a pod was injected, left unchanged or refused."""

    INJECT_INIT = "inject_init"
    INJECT_SIDECAR = "inject_sidecar"
    NO_NETWORKS = "no_networks"
    NOT_OPTED_IN = "not_opted_in"
    OPTED_OUT = "opted_out"
    EXCLUDED_NAMESPACE = "excluded_namespace"
    HOST_NETWORK = "host_network"
    MIRROR_POD = "mirror_pod"
    WINDOWS = "windows"
    FARGATE = "fargate"
    ALREADY_INJECTED = "already_injected"
    AGENT_PRESENT = "agent_present"
    NOT_POD_CREATION = "not_pod_creation"
    INVALID_SETTING = "invalid_setting"
    UNREADABLE_POD = "unreadable_pod"
    INTERNAL_ERROR = "internal_error"


SENTENCES: dict[Reason, str] = {
    Reason.INJECT_INIT: "an init container assigns the pod's Multus addresses before the app starts",
    Reason.INJECT_SIDECAR: "a native sidecar assigns the pod's Multus addresses and follows their changes",
    Reason.NO_NETWORKS: "the pod attaches to no Multus network",
    Reason.NOT_OPTED_IN: "neither the pod nor its namespace is labelled multus-eni.io/injection=enabled",
    Reason.OPTED_OUT: "the pod or its namespace is labelled multus-eni.io/injection=disabled",
    Reason.EXCLUDED_NAMESPACE: "the namespace is excluded in the injector's settings",
    Reason.HOST_NETWORK: "the pod uses the host's network, where Multus attaches nothing",
    Reason.MIRROR_POD: "the pod mirrors a static pod of a node, which admission cannot change",
    Reason.WINDOWS: "the pod runs on Windows, where Multus attaches nothing",
    Reason.FARGATE: "the pod runs on Fargate, which has no secondary ENIs",
    Reason.ALREADY_INJECTED: "the pod already has the agent",
    Reason.AGENT_PRESENT: "a container in the pod, added by hand, manages its addresses",
    Reason.NOT_POD_CREATION: "the request does not create a pod",
    Reason.INVALID_SETTING: "a label, annotation or name of multus-eni.io has a value that is not allowed",
    Reason.UNREADABLE_POD: "the pod in the request cannot be read",
    Reason.INTERNAL_ERROR: "the injector failed",
}

_OPT_OUT = "to create the pod without the agent, label it multus-eni.io/injection=disabled"

REMEDIES: dict[Reason, str] = {
    Reason.INJECT_INIT: _OPT_OUT,
    Reason.INJECT_SIDECAR: _OPT_OUT,
    Reason.NO_NETWORKS: (
        "nothing, unless the pod should attach to a network: annotate it with k8s.v1.cni.cncf.io/networks"
    ),
    Reason.NOT_OPTED_IN: (
        "label the namespace multus-eni.io/injection=enabled, or the pod, unless injection.podOptIn is false"
    ),
    Reason.OPTED_OUT: (
        "remove the `disabled` label, or label the pod multus-eni.io/injection=enabled "
        "(the pod's label takes precedence)"
    ),
    Reason.EXCLUDED_NAMESPACE: (
        "use another namespace, or remove this one from injection.excludedNamespaces "
        "(kube-system is always excluded)"
    ),
    Reason.HOST_NETWORK: "set hostNetwork to false, or remove the networks annotation",
    Reason.MIRROR_POD: "make it a DaemonSet or a Deployment instead of a file on the node",
    Reason.WINDOWS: "remove the networks annotation",
    Reason.FARGATE: "run the pod on EC2 nodes: with a namespace and labels that no Fargate profile selects",
    Reason.ALREADY_INJECTED: "nothing",
    Reason.AGENT_PRESENT: "to have the injector manage the addresses, remove that container",
    Reason.NOT_POD_CREATION: "nothing: only pods that are created are injected",
    Reason.INVALID_SETTING: "correct the value that the message names: until then the pod is refused",
    Reason.UNREADABLE_POD: "correct the field that the message names: until then the pod is refused",
    Reason.INTERNAL_ERROR: "this is a bug: please report it and include the webhook's log line `fault`",
}
"""What the user does next, or to get another outcome."""
