"""Can nodes reach EC2 from their subnets?

What counts is the subnet of a node's first ENI: node agents call from there, and what pods send out of the
VPC leaves by it, too. Whatever can't be seen (another VPC behind a transit gateway) counts as a way.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from check.callers import OWN_WAY, POD_IDENTITY, WEB_IDENTITY, environment
from check.model import (
    AWS,
    ENDPOINTS,
    GROUPS,
    NotApplicable,
    Object,
    Verdict,
    items,
    mapping,
    objects,
    text_of,
)
from check.networks import IPAddress
from check.results import Check, Problem, aws
from check.views import Cluster
from common.agent_settings import Backend

EC2, STS, EKS_AUTH = "ec2", "sts", "eks-auth"
HTTPS = 443
TARGETS = (
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "CoreNetworkArn",
    "NetworkInterfaceId",
    "InstanceId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "EgressOnlyInternetGatewayId",
    "OdbNetworkArn",
    "GatewayId",
)
"""Where a route may go to (`Route` in the EC2 API reference)."""
MAX_NODES = 3
"""Nodes of a subnet that are named; the rest is counted."""


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


def _endpoints(cluster: Cluster) -> Iterator[str]:
    services = _services(cluster)
    for (vpc, subnet), origins in _by_subnet(cluster).items():
        enclosed, why = _enclosed(cluster, vpc, subnet, origins)
        for service in services if enclosed else ():
            found = _of_service(cluster, vpc, service)
            if not any(_is_available(each) for each in found):
                states = ", ".join(f"{each.get('VpcEndpointId')} is {each.get('State')}" for each in found)
                text = (
                    f"{_nodes(enclosed)} in {subnet}: {why}, and {vpc} has no interface endpoint for "
                    f"{service}{f' ({states})' if states else ''}"
                )
                yield text


def _private_dns(cluster: Cluster) -> Iterator[Problem]:
    for (vpc, subnet), origins in _by_subnet(cluster).items():
        enclosed, _ = _enclosed(cluster, vpc, subnet, origins)
        for service in _services(cluster) if enclosed else ():
            found = [each for each in _of_service(cluster, vpc, service) if _is_available(each)]
            if found and not any(each.get("PrivateDnsEnabled") is True for each in found):
                endpoint = str(found[0].get("VpcEndpointId"))
                options = ("--vpc-endpoint-id", endpoint, "--private-dns-enabled")
                text = f"{endpoint} ({service}) of {vpc} has no private DNS name"
                yield Problem(text, aws(cluster, "ec2", "modify-vpc-endpoint", *options))


def _security_groups(cluster: Cluster) -> Iterator[Problem]:
    rules = {str(each.get("GroupId")): objects(each.get("IpPermissions")) for each in cluster.aws.groups}
    for (vpc, _), origins in _by_subnet(cluster).items():
        for service in _services(cluster):
            for endpoint in _of_service(cluster, vpc, service):
                # With a private DNS name all calls of the VPC go there, whatever its routes are.
                if not _is_available(endpoint) or endpoint.get("PrivateDnsEnabled") is not True:
                    continue
                groups = [str(each.get("GroupId")) for each in objects(endpoint.get("Groups"))]
                if not groups or any(group not in rules for group in groups):
                    continue
                allowed = [rule for group in groups for rule in rules[group]]
                shut_out = [each for each in origins if not any(_lets_in(rule, each) for rule in allowed)]
                if shut_out:
                    text = (
                        f"{', '.join(groups)} of {endpoint.get('VpcEndpointId')} ({service}) does not let "
                        f"{_nodes(shut_out)} in on TCP {HTTPS}"
                    )
                    yield Problem(text, _let_in(cluster, groups[0], shut_out[0]))


def _let_in(cluster: Cluster, group: str, origin: Origin) -> str:
    """Return the command that lets a node's security group in, empty where its groups are not known."""
    if not origin.groups:
        return ""
    source = f"UserIdGroupPairs=[{{GroupId={min(origin.groups)}}}]"
    rule = ("--ip-permissions", f"IpProtocol=tcp,FromPort={HTTPS},ToPort={HTTPS},{source}")
    return aws(cluster, "ec2", "authorize-security-group-ingress", "--group-id", group, *rule)


def _services(cluster: Cluster) -> tuple[str, ...]:
    """Return what is called; raises NotApplicable where the calls leave by a way that is not seen here."""
    variables = environment(cluster)
    if own := next((name for name in OWN_WAY if name in variables), ""):
        raise NotApplicable(f"calls of EC2 go where {own} says")
    return (
        EC2,
        *([STS] if WEB_IDENTITY in variables else []),
        *([EKS_AUTH] if POD_IDENTITY in variables else []),
    )


def _by_subnet(cluster: Cluster) -> Mapping[tuple[str, str], list[Origin]]:
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
            enis[str(mapping(eni.get("Attachment")).get("InstanceId"))].append(eni)
    for eni in cluster.aws.network_interfaces:
        attachment = mapping(eni.get("Attachment"))
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
        addresses += [each.get("PrivateIpAddress") for each in objects(eni.get("PrivateIpAddresses"))]
        addresses += [each.get("Ipv6Address") for each in objects(eni.get("Ipv6Addresses"))]
    return Origin(
        node,
        str(first.get("VpcId")),
        str(first.get("SubnetId")),
        frozenset(str(each.get("GroupId")) for eni in callers for each in objects(eni.get("Groups"))),
        tuple(_addresses(addresses)),
        bool(mapping(first.get("Association")).get("PublicIp")),
    )


def _enclosed(cluster: Cluster, vpc: str, subnet: str, origins: list[Origin]) -> tuple[list[Origin], str]:
    """Return those nodes of a subnet that no route leads out of the VPC, and why."""
    table = _table(cluster.aws.route_tables, vpc, subnet)
    if table is None:
        return [], ""
    dead, gateway = "", ""
    for route in objects(table.get("Routes")):
        target = next((text_of(route.get(key)) for key in TARGETS if route.get(key)), "")
        to_gateway_endpoint = target.startswith("vpce-") and route.get("DestinationPrefixListId")
        if target in ("", "local") or to_gateway_endpoint:
            continue
        if route.get("State", "active") != "active":
            dead = target
        elif target.startswith("igw-") and route.get("DestinationCidrBlock"):
            gateway = target
        else:
            return [], ""
    name = f"route table {table.get('RouteTableId')}"
    if gateway:
        private = [each for each in origins if not each.has_public_address]
        return private, f"{name} leads out by {gateway}, which needs a public address on the node"
    return origins, f"{name} has no way out of the VPC{f' ({dead} is a blackhole)' if dead else ''}"


def _table(tables: Iterable[Object], vpc: str, subnet: str) -> Object | None:
    """Return a subnet's route table: its own, or the VPC's main one."""
    main = None
    for table in tables:
        for association in objects(table.get("Associations")):
            if association.get("SubnetId") == subnet:
                return table
            if association.get("Main") is True and table.get("VpcId") == vpc:
                main = table
    return main


def _of_service(cluster: Cluster, vpc: str, service: str) -> list[Object]:
    """Return a VPC's interface endpoints for a service, by names such as com.amazonaws.eu-central-1.ec2."""
    names = (service, f"{service}-fips")
    return [
        each
        for each in cluster.aws.endpoints
        if each.get("VpcId") == vpc
        and each.get("VpcEndpointType") == "Interface"
        and text_of(each.get("ServiceName")).rpartition(".")[2] in names
    ]


def _is_available(endpoint: Object) -> bool:
    # "Available" in the API reference, "available" in answers.
    return text_of(endpoint.get("State")).lower() == "available"


def _lets_in(rule: Object, origin: Origin) -> bool:
    """Return whether an inbound rule of a security group lets HTTPS of a node in."""
    if str(rule.get("IpProtocol")) not in ("-1", "tcp", "6"):
        return False
    first, last = rule.get("FromPort"), rule.get("ToPort")
    if isinstance(first, int) and isinstance(last, int) and first != -1 and not first <= HTTPS <= last:
        return False
    if items(rule.get("PrefixListIds")):
        return True  # what is in the list is not known here
    if any(text_of(each.get("GroupId")) in origin.groups for each in objects(rule.get("UserIdGroupPairs"))):
        return True
    ranges = [each.get("CidrIp") for each in objects(rule.get("IpRanges"))]
    ranges += [each.get("CidrIpv6") for each in objects(rule.get("Ipv6Ranges"))]
    return any(_contains(each, address) for each in ranges for address in origin.addresses)


def _contains(cidr: object, address: IPAddress) -> bool:
    try:
        return address in ipaddress.ip_network(str(cidr))
    except ValueError:
        return False


def _addresses(texts: Iterable[object]) -> Iterator[IPAddress]:
    for text in dict.fromkeys(map(text_of, texts)):
        try:
            yield ipaddress.ip_address(str(text))
        except ValueError:
            continue


def _nodes(origins: list[Origin]) -> str:
    names = sorted(each.node for each in origins)
    more = f" and {len(names) - MAX_NODES} more" if len(names) > MAX_NODES else ""
    return ", ".join(names[:MAX_NODES]) + more


WAYS = (
    Check(
        "aws-endpoints",
        "nodes have a way to EC2",
        "aws ec2 create-vpc-endpoint --vpc-endpoint-type Interface --private-dns-enabled, "
        "or a route to a NAT gateway: docs/agent.md#regions-endpoints-proxies",
        _endpoints,
        needs=(AWS, ENDPOINTS),
        pre=True,
    ),
    Check(
        "aws-endpoint-dns",
        "endpoints have the services' names",
        "aws ec2 modify-vpc-endpoint --private-dns-enabled, or set AWS_ENDPOINT_URL_EC2",
        _private_dns,
        Verdict.WARNING,
        needs=(AWS, ENDPOINTS),
        pre=True,
    ),
    Check(
        "aws-endpoint-groups",
        "endpoints' security groups let the nodes in",
        "aws ec2 authorize-security-group-ingress --protocol tcp --port 443 --source-group GROUP-OF-NODES",
        _security_groups,
        needs=(AWS, ENDPOINTS, GROUPS),
        pre=True,
    ),
)
