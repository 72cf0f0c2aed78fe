"""Why a pod was injected, left alone or refused: one enum, one sentence each.

The values are metric labels, log fields and audit annotations, and `explain` prints them: they are part
of what users rely on and are never renamed.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The outcome of one decision."""

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
    Reason.INJECT_SIDECAR: "a native sidecar assigns the pod's Multus addresses and follows them",
    Reason.NO_NETWORKS: "the pod attaches to no Multus network",
    Reason.NOT_OPTED_IN: "neither the pod nor its namespace is labelled multus-eni.io/injection=enabled",
    Reason.OPTED_OUT: "the pod or its namespace is labelled multus-eni.io/injection=disabled",
    Reason.EXCLUDED_NAMESPACE: "the namespace is excluded in the injector's settings",
    Reason.HOST_NETWORK: "the pod uses the host's network, where Multus attaches nothing",
    Reason.MIRROR_POD: "the pod mirrors a static pod of a node, which admission cannot change",
    Reason.WINDOWS: "the pod runs on Windows, where Multus attaches nothing",
    Reason.FARGATE: "the pod runs on Fargate, which has no secondary ENIs",
    Reason.ALREADY_INJECTED: "the pod has the agent already",
    Reason.AGENT_PRESENT: "a container in the pod, added by hand, manages its addresses",
    Reason.NOT_POD_CREATION: "the request does not create a pod",
    Reason.INVALID_SETTING: "a label, annotation or name of multus-eni.io has a value that is not allowed",
    Reason.UNREADABLE_POD: "the pod in the request cannot be read",
    Reason.INTERNAL_ERROR: "the injector failed",
}

_OPT_OUT = "to go without the agent, label the pod multus-eni.io/injection=disabled"

REMEDIES: dict[Reason, str] = {
    Reason.INJECT_INIT: _OPT_OUT,
    Reason.INJECT_SIDECAR: _OPT_OUT,
    Reason.NO_NETWORKS: (
        "nothing, unless the pod should attach to a network: annotate it with k8s.v1.cni.cncf.io/networks"
    ),
    Reason.NOT_OPTED_IN: "label the namespace, or the pod, multus-eni.io/injection=enabled",
    Reason.OPTED_OUT: (
        "take the label off that says disabled, or label the pod multus-eni.io/injection=enabled, which wins"
    ),
    Reason.EXCLUDED_NAMESPACE: (
        "use another namespace, or take this one out of injection.excludedNamespaces; kube-system stays"
    ),
    Reason.HOST_NETWORK: "set hostNetwork to false, or take the networks annotation off",
    Reason.MIRROR_POD: "make it a DaemonSet or a Deployment instead of a file on the node",
    Reason.WINDOWS: "nothing: take the networks annotation off",
    Reason.FARGATE: "run it on EC2 nodes: outside of the namespaces and labels of the Fargate profiles",
    Reason.ALREADY_INJECTED: "nothing",
    Reason.AGENT_PRESENT: "to have the injector do it, remove that container",
    Reason.NOT_POD_CREATION: "nothing: only pods that are created are injected",
    Reason.INVALID_SETTING: "correct what the message names: as it is, the pod is refused",
    Reason.UNREADABLE_POD: "correct the place that the message names: as it is, the pod is refused",
    Reason.INTERNAL_ERROR: "report it with the webhook's log line `fault`",
}
"""What a user changes, in a sentence: about the outcome, or to get another one."""
