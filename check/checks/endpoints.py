"""Can nodes reach EC2 from their subnets?

What counts is the subnet of a node's first ENI: node agents call from there, and what pods send out of the
VPC leaves by it, too. Whatever can't be seen (another VPC behind a transit gateway) counts as a way.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from check.aws_callers import (
    OWN_WAY,
    POD_IDENTITY,
    WAY_OF_EC2,
    WAY_OF_STS,
    WEB_IDENTITY,
    Origin,
    environment,
    origins_by_subnet,
)
from check.cluster import Cluster
from check.model import AWS, ENDPOINTS, GROUPS, NotApplicable, Object, Verdict, as_objects, text_of
from check.results import Check, Problem, listed
from check.shell_commands import aws_command
from common.object_fields import as_list
from ipagent.assign.addresses import IPAddress

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


def _endpoints(cluster: Cluster) -> Iterator[str]:
    services = _services(cluster)
    for (vpc, subnet), origins in origins_by_subnet(cluster).items():
        enclosed, why = _enclosed(cluster, vpc, subnet, origins)
        for service in services if enclosed else ():
            found = _of_service(cluster, vpc, service)
            if not any(_is_available(each) for each in found):
                states = ", ".join(f"{each.get('VpcEndpointId')} is {each.get('State')}" for each in found)
                yield (
                    f"{_nodes(enclosed)} in {subnet}: {why}, and {vpc} has no interface endpoint for "
                    f"{service}{f' ({states})' if states else ''}"
                )


def _private_dns(cluster: Cluster) -> Iterator[Problem]:
    for (vpc, subnet), origins in origins_by_subnet(cluster).items():
        enclosed, _ = _enclosed(cluster, vpc, subnet, origins)
        for service in _services(cluster) if enclosed else ():
            found = [each for each in _of_service(cluster, vpc, service) if _is_available(each)]
            if found and not any(each.get("PrivateDnsEnabled") is True for each in found):
                yield _without_name(cluster, found[0], service, enclosed)


def _without_name(cluster: Cluster, endpoint: Object, service: str, callers: list[Origin]) -> Problem:
    """Return the problem, with commands that only read.

    Private DNS moves the calls of the whole VPC, and nothing here tells whether all of them may go there.
    """
    endpoint_id, groups = str(endpoint.get("VpcEndpointId")), _groups(endpoint)
    text = f"{endpoint_id} ({service}) of {endpoint.get('VpcId')} has no private DNS name"
    if own := _own_name(endpoint):
        text += f", only {own}"
    if shut_out := _shut_out(cluster, endpoint, callers):
        text += f"; {', '.join(groups)} does not let {_nodes(shut_out)} in on TCP {HTTPS}"
    shown = [aws_command(cluster, "ec2", "describe-vpc-endpoints", "--vpc-endpoint-ids", endpoint_id)]
    if groups:
        chosen = f"Name=group-id,Values={','.join(groups)}"
        shown.append(aws_command(cluster, "ec2", "describe-security-group-rules", "--filters", chosen))
    return Problem(text, " && ".join(shown))


def _own_name(endpoint: Object) -> str:
    """Return the endpoint's own name; those of its zones are longer."""
    names = [text_of(each.get("DnsName")) for each in as_objects(endpoint.get("DnsEntries"))]
    return min((name for name in names if name.startswith("vpce-")), key=len, default="")


def _security_groups(cluster: Cluster) -> Iterator[Problem]:
    for (vpc, _), origins in origins_by_subnet(cluster).items():
        for service in _services(cluster):
            for endpoint in _of_service(cluster, vpc, service):
                # With a private DNS name all calls of the VPC go there, whatever its routes are.
                if not _is_available(endpoint) or endpoint.get("PrivateDnsEnabled") is not True:
                    continue
                if shut_out := _shut_out(cluster, endpoint, origins):
                    groups = _groups(endpoint)
                    text = (
                        f"{', '.join(groups)} of {endpoint.get('VpcEndpointId')} ({service}) does not let "
                        f"{_nodes(shut_out)} in on TCP {HTTPS}"
                    )
                    yield Problem(text, _let_in(cluster, groups[0], shut_out[0]))


def _groups(endpoint: Object) -> list[str]:
    return [str(each.get("GroupId")) for each in as_objects(endpoint.get("Groups"))]


def _shut_out(cluster: Cluster, endpoint: Object, origins: list[Origin]) -> list[Origin]:
    """Return those that an endpoint's groups do not let in, none where their rules are not known."""
    rules = {str(each.get("GroupId")): as_objects(each.get("IpPermissions")) for each in cluster.aws.groups}
    groups = _groups(endpoint)
    if not groups or any(group not in rules for group in groups):
        return []
    allowed = [rule for group in groups for rule in rules[group]]
    return [each for each in origins if not any(_lets_in(rule, each) for rule in allowed)]


def _let_in(cluster: Cluster, group: str, origin: Origin) -> str:
    """Return the command that lets a node's security group in, empty where its groups are not known."""
    if not origin.groups:
        return ""
    source = f"UserIdGroupPairs=[{{GroupId={min(origin.groups)}}}]"
    rule = ("--ip-permissions", f"IpProtocol=tcp,FromPort={HTTPS},ToPort={HTTPS},{source}")
    return aws_command(cluster, "ec2", "authorize-security-group-ingress", "--group-id", group, *rule)


def _services(cluster: Cluster) -> tuple[str, ...]:
    """Return what is called; raises NotApplicable where the calls leave by a way that is not seen here."""
    variables = environment(cluster)
    if own := next((name for name in OWN_WAY if name in variables), ""):
        raise NotApplicable(f"calls to EC2 go where {own} says")
    services = (
        *([EC2] if WAY_OF_EC2 not in variables else []),
        *([STS] if WEB_IDENTITY in variables and WAY_OF_STS not in variables else []),
        *([EKS_AUTH] if POD_IDENTITY in variables else []),
    )
    if not services:
        raise NotApplicable(f"calls to EC2 go where {WAY_OF_EC2} says")
    return services


def _enclosed(cluster: Cluster, vpc: str, subnet: str, origins: list[Origin]) -> tuple[list[Origin], str]:
    """Return those nodes of a subnet that no route leads out of the VPC, and why."""
    table = _table(cluster.aws.route_tables, vpc, subnet)
    if table is None:
        return [], ""
    dead, gateway = "", ""
    for route in as_objects(table.get("Routes")):
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
        for association in as_objects(table.get("Associations")):
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
    if as_list(rule.get("PrefixListIds")):
        return True  # what is in the list is not known here
    if any(
        text_of(each.get("GroupId")) in origin.groups for each in as_objects(rule.get("UserIdGroupPairs"))
    ):
        return True
    ranges = [each.get("CidrIp") for each in as_objects(rule.get("IpRanges"))]
    ranges += [each.get("CidrIpv6") for each in as_objects(rule.get("Ipv6Ranges"))]
    return any(_contains(each, address) for each in ranges for address in origin.addresses)


def _contains(cidr: object, address: IPAddress) -> bool:
    try:
        return address in ipaddress.ip_network(str(cidr))
    except ValueError:
        return False


def _nodes(origins: list[Origin]) -> str:
    return listed(each.node for each in origins)


WAYS = (
    Check(
        "aws-endpoints",
        "nodes have a way to EC2",
        "create an interface endpoint, which with private DNS takes the calls of the whole VPC, or a route "
        "to a NAT gateway: docs/agent.md#regions-endpoints-proxies",
        _endpoints,
        needs=(AWS, ENDPOINTS),
        pre=True,
    ),
    Check(
        "aws-endpoint-dns",
        "endpoints have the services' names",
        "set AWS_ENDPOINT_URL_EC2 (sts: AWS_ENDPOINT_URL_STS) to https:// and the endpoint's own name, for "
        "the injector alone; eks-auth has no such variable. Private DNS moves the calls of the whole VPC to "
        "the endpoint: check first that its security groups and policy allow all of them",
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
