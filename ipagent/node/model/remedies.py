"""Remedies for errors of the node agent, for which those of an agent in a pod would be wrong.

It runs on the node's network and has rights of its own: neither the pod's ServiceAccount, NetworkPolicies and
routes nor the hop limit of IMDS count.
"""

from __future__ import annotations

from ipagent.assign.errors import (
    OTHER_POLICIES,
    AgentError,
    Ec2Unreachable,
    NoCredentials,
    NoImds,
    NoPermission,
)

_REMEDIES: dict[type[AgentError], str] = {
    NoImds: (
        "The node agent asks IMDS from the node's own network, where the hop limit does not matter. Check "
        "that IMDS is enabled on the node (HttpEndpoint), and that neither a firewall blocks "
        "169.254.169.254 on the node nor anything answers in its place."
    ),
    NoCredentials: (
        "Give the node agent's ServiceAccount a role (EKS Pod Identity, or for IRSA "
        "nodeAgent.serviceAccount.annotations) and restart its pod on this node, or let it use the node's "
        "role (nodeAgent.credentials=node): that needs an instance profile."
    ),
    NoPermission: (
        "Allow that identity, which is the node agent's, what examples/iam/node-agent.json has. If it has "
        "these rights, tag the ENI as the policy demands (node.k8s.amazonaws.com/no_manage=true). "
        f"{OTHER_POLICIES} If the node's role was meant and another was used, set nodeAgent.credentials=node."
    ),
    Ec2Unreachable: (
        "The node agent calls EC2 from the node's own network: check the node's way to EC2 (NAT, or a VPC "
        "endpoint and its security group), DNS on the node, and a proxy in nodeAgent.extraEnv."
    ),
}


def of_node_agent(error: AgentError) -> AgentError:
    """Return the error with the node agent's remedy, unless it has one of its own or there is no other."""
    kind = type(error)
    if error.remedy != kind.remedy:
        return error
    remedy = next((_REMEDIES[each] for each in kind.__mro__ if each in _REMEDIES), None)
    return error if remedy is None else error.reworded(str(error), remedy)
