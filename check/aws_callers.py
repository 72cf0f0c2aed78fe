"""The containers that call AWS for Multus pods: the endpoints that they are given, and their subnets."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from check.cluster import Cluster
from check.model import NotApplicable, Object, as_objects, pod_spec, text_of
from common.agent_container import CONTAINER_NAME
from common.agent_settings import Backend
from common.object_fields import as_map
from ipagent.assign.addresses import IPAddress

OWN_WAY = ("AWS_ENDPOINT_URL", "HTTPS_PROXY", "https_proxy")
"""Variables with which all calls leave by another way than the services' names.

("Service-specific endpoints", AWS SDKs and tools reference guide; botocore, `botocore.httpsession`.)
"""
WAY_OF_EC2, WAY_OF_STS = "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_STS"
"""The same for one service."""
WEB_IDENTITY = "AWS_ROLE_ARN"
"""What EKS's webhook sets for IRSA, with a token that STS exchanges ("IAM roles for service accounts")."""
POD_IDENTITY = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
"""What it sets for EKS Pod Identity, whose agent on the node asks `eks-auth`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the calls of a node come from: its first ENI.

    With the backend `direct` pods call, from ENIs of the VPC CNI: `groups` and `addresses` are those of all.
    """

    node: str
    vpc: str
    subnet: str
    groups: frozenset[str]
    addresses: tuple[IPAddress, ...]
    has_public_address: bool


def environment(cluster: Cluster) -> frozenset[str]:
    """Return the names of the variables that any of these containers has."""
    found = {
        text_of(each.get("name")) for each in _containers(cluster) for each in as_objects(each.get("env"))
    }
    settings = cluster.installation.settings
    if settings and settings.agent.backend is Backend.DIRECT:
        found |= {each.name for each in settings.env}
    return frozenset(found)


def _containers(cluster: Cluster) -> Iterator[Object]:
    installation = cluster.installation
    for workload in filter(None, (installation.node_agent, installation.controller)):
        yield from as_objects(pod_spec(workload).get("containers"))
    # What EKS adds is in the pods alone.
    for component in ("node-agent", "controller"):
        for pod in installation.pods_of(component):
            yield from as_objects(pod.spec.get("containers"))
    if installation.backend is Backend.DIRECT:
        for pod in cluster.pods:
            agents = (*as_objects(pod.spec.get("initContainers")), *as_objects(pod.spec.get("containers")))
            yield from (each for each in agents if each.get("name") == CONTAINER_NAME)


def origins_by_subnet(cluster: Cluster) -> Mapping[tuple[str, str], list[Origin]]:
    """Return the nodes' origins by VPC and subnet.

    Raises NotApplicable where subnets are shared by another account: EC2 shows nobody else its endpoints
    ("Shared subnet permissions", VPC user guide).
    """
    owners = {str(each.get("SubnetId")): each.get("OwnerId") for each in cluster.aws.subnets}
    nodes = {instance: node for node, instance in cluster.instances.items()}
    found: dict[tuple[str, str], list[Origin]] = defaultdict(list)
    enis: dict[str, list[Object]] = defaultdict(list)
    for_pods = {eni.eni_id for eni in cluster.pod_enis}
    for eni in cluster.aws.network_interfaces:
        if text_of(eni.get("NetworkInterfaceId")) not in for_pods:
            enis[str(as_map(eni.get("Attachment")).get("InstanceId"))].append(eni)
    for eni in cluster.aws.network_interfaces:
        attachment = as_map(eni.get("Attachment"))
        instance = str(attachment.get("InstanceId"))
        if instance not in nodes or attachment.get("DeviceIndex") != 0 or attachment.get("NetworkCardIndex"):
            continue
        callers = enis[instance] if cluster.installation.backend is Backend.DIRECT else [eni]
        origin = _origin(nodes[instance], eni, callers)
        if owners.get(origin.subnet, eni.get("OwnerId")) not in (None, eni.get("OwnerId")):
            raise NotApplicable(
                f"{origin.subnet} is shared by another account, whose endpoints are not shown"
            )
        found[origin.vpc, origin.subnet].append(origin)
    return found


def _origin(node: str, first: Object, callers: list[Object]) -> Origin:
    addresses = [first.get("PrivateIpAddress")]
    for eni in callers:
        addresses += [each.get("PrivateIpAddress") for each in as_objects(eni.get("PrivateIpAddresses"))]
        addresses += [each.get("Ipv6Address") for each in as_objects(eni.get("Ipv6Addresses"))]
    return Origin(
        node,
        str(first.get("VpcId")),
        str(first.get("SubnetId")),
        frozenset(str(each.get("GroupId")) for eni in callers for each in as_objects(eni.get("Groups"))),
        tuple(_addresses(addresses)),
        bool(as_map(first.get("Association")).get("PublicIp")),
    )


def _addresses(texts: Iterable[object]) -> Iterator[IPAddress]:
    for text in dict.fromkeys(map(text_of, texts)):
        try:
            yield ipaddress.ip_address(str(text))
        except ValueError:
            continue
