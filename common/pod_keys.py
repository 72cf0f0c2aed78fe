"""Keys of the labels and annotations on pods and namespaces: ours and those of Multus."""

from __future__ import annotations

from enum import StrEnum

PREFIX = "multus-eni.io/"
INJECTION = PREFIX + "injection"
MODE = PREFIX + "mode"
INTERFACES = PREFIX + "interfaces"
RELEASE_ON_EXIT = PREFIX + "release-on-exit"
TAKEOVER = PREFIX + "takeover"
TIMEOUT = PREFIX + "timeout"
CREDENTIALS = PREFIX + "credentials"
AGENT_CPU = PREFIX + "agent-cpu"
AGENT_MEMORY = PREFIX + "agent-memory"
AGENT_IMAGE = PREFIX + "agent-image"
EIP = PREFIX + "eip"
EIP_WAIT = PREFIX + "eip-wait"
EIP_LABEL = PREFIX + "eip"
"""Label of the pods that claim an Elastic IP, whatever its value: the controller watches no others."""
EIP_CONDITION = PREFIX + "ElasticIPsAssociated"
"""The controller's condition of a pod that claims Elastic IPs."""
NETWORKS_FILE = "networks.json"
"""Key of the ConfigMap by which the webhook learns which definition is in which network."""
UNITS = PREFIX + "units"
"""How many addresses a pod needs beyond one an attachment; a node network's resource is PREFIX + its name."""
STATUS = PREFIX + "status"

# Keys of Multus (the k8snetworkplumbingwg de-facto standard, sections 4.1 and 4.2).
NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"


class Injection(StrEnum):
    """Values of the injection label."""

    ENABLED = "enabled"
    DISABLED = "disabled"
