"""What a world file says of VPCs beside their subnets: security groups, endpoints and route tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from tests.doubles.config.document import Node
from tests.doubles.config.fields import add, choice, identifier, integer, tags
from tests.doubles.ec2.describe_network import security_group
from tests.doubles.state.identifiers import ENDPOINT, GROUP, ROUTE_TABLE, VPC
from tests.doubles.state.resources import IngressRule, Route, RouteTable, SecurityGroup, Subnet, VpcEndpoint

_TARGET = r"local|(igw|vgw|nat|tgw|pcx|eni|eigw|vpce)-[0-9a-f]{8,17}"
_LARGEST_VPC = 16
"""The largest range of a VPC ("VPC CIDR blocks", VPC user guide)."""


def read_groups(node: Node | None, subnets: Mapping[str, Subnet]) -> dict[str, SecurityGroup]:
    """Read `security_groups`, and add the default one of each VPC, which lets its own members in."""
    groups: dict[str, SecurityGroup] = {}
    for vpc in sorted({subnet.vpc for subnet in subnets.values()}):
        name = security_group(vpc)
        groups[name] = SecurityGroup(name, vpc, "default", ingress=(IngressRule("-1", groups=(name,)),))
    for item in node.items() if node else []:
        keys = item.mapping(required=("id", "vpc", "name"), optional=("tags", "ingress"))
        group = SecurityGroup(
            identifier(keys["id"], GROUP),
            _vpc(keys["vpc"], subnets),
            keys["name"].text(),
            tags(keys),
            tuple(map(_rule, keys["ingress"].items())) if "ingress" in keys else (),
        )
        add(groups, group, item)
    return groups


def read_endpoints(
    node: Node | None, subnets: Mapping[str, Subnet], groups: Mapping[str, SecurityGroup]
) -> dict[str, VpcEndpoint]:
    """Read `vpc_endpoints`; an interface endpoint without groups has the VPC's default one."""
    found: dict[str, VpcEndpoint] = {}
    for item in node.items() if node else []:
        keys = item.mapping(
            required=("id", "vpc", "service"), optional=("type", "state", "private_dns", "subnets", "groups")
        )
        vpc = _vpc(keys["vpc"], subnets)
        kind = choice(keys, "type", "Interface", ("Interface", "Gateway"))
        given = [each.choice(groups) for each in keys["groups"].items()] if "groups" in keys else []
        endpoint = VpcEndpoint(
            identifier(keys["id"], ENDPOINT),
            vpc,
            keys["service"].text(),
            kind,
            choice(keys, "state", "available", ("available", "pending", "pendingAcceptance", "failed")),
            keys["private_dns"].flag() if "private_dns" in keys else True,
            tuple(each.choice(subnets) for each in keys["subnets"].items()) if "subnets" in keys else (),
            tuple(given) or ((security_group(vpc),) if kind == "Interface" else ()),
        )
        add(found, endpoint, item)
    return found


def read_route_tables(node: Node | None, subnets: Mapping[str, Subnet]) -> dict[str, RouteTable]:
    """Read `route_tables`, and add a main one with local routes alone to each VPC that has none."""
    found: dict[str, RouteTable] = {}
    for item in node.items() if node else []:
        keys = item.mapping(required=("id", "vpc"), optional=("main", "subnets", "routes"))
        vpc = _vpc(keys["vpc"], subnets)
        own = [each.choice(subnets) for each in keys["subnets"].items()] if "subnets" in keys else []
        routes = map(_route, keys["routes"].items()) if "routes" in keys else ()
        table = RouteTable(
            identifier(keys["id"], ROUTE_TABLE),
            vpc,
            keys["main"].flag() if "main" in keys else False,
            tuple(own),
            (*_local(vpc, subnets), *routes),
        )
        add(found, table, item)
    with_main = {table.vpc for table in found.values() if table.main}
    for vpc in sorted({subnet.vpc for subnet in subnets.values()} - with_main):
        name = "rtb-" + vpc.removeprefix(VPC.prefix)
        found[name] = RouteTable(name, vpc, main=True, routes=tuple(_local(vpc, subnets)))
    return found


def _local(vpc: str, subnets: Mapping[str, Subnet]) -> Iterator[Route]:
    """Return the routes within a VPC, of which only subnets are known: to the /16 around each."""
    cidrs = {each.cidr.supernet(new_prefix=_LARGEST_VPC) for each in subnets.values() if each.vpc == vpc}
    return (Route(str(cidr), "local") for cidr in sorted(cidrs))


def _route(node: Node) -> Route:
    keys = node.mapping(required=("to", "by"), optional=("state",))
    target = keys["by"].text(_TARGET, "local or a target such as nat-0a000000000000001")
    return Route(
        keys["to"].text(), target, choice(keys, "state", "active", ("active", "blackhole")) == "active"
    )


def _rule(node: Node) -> IngressRule:
    keys = node.mapping(required=("protocol",), optional=("from", "to", "cidrs", "groups"))
    protocol = keys["protocol"].choice(("-1", "tcp", "udp", "icmp"))
    first = integer(keys, "from", 0, 0, 65535)
    return IngressRule(
        protocol,
        None if protocol == "-1" else (first, integer(keys, "to", first, first, 65535)),
        tuple(each.parse(IPv4Network, "an IPv4 network") for each in keys["cidrs"].items())
        if "cidrs" in keys
        else (),
        tuple(identifier(each, GROUP) for each in keys["groups"].items()) if "groups" in keys else (),
    )


def _vpc(node: Node, subnets: Mapping[str, Subnet]) -> str:
    vpc = identifier(node, VPC)
    if all(subnet.vpc != vpc for subnet in subnets.values()):
        node.refuse(f"{vpc} has no subnet in this world")
    return vpc
