"""How VPC endpoints and route tables look in EC2's answers, and by which filters they are found.

Element names and filters are those of DescribeVpcEndpoints and DescribeRouteTables in the EC2 API reference.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.doubles.ec2.describe import Kind
from tests.doubles.ec2.describe_network import ATTACH_TIME
from tests.doubles.ec2.query_protocol import Structure
from tests.doubles.state.model import World
from tests.doubles.state.resources import Route, RouteTable, VpcEndpoint

EVERYBODY = '{"Statement": [{"Action": "*", "Effect": "Allow", "Principal": "*", "Resource": "*"}]}'
"""The policy of an endpoint that was made without one."""

_TARGETS = {
    "eigw-": "egressOnlyInternetGatewayId",
    "eni-": "networkInterfaceId",
    "nat-": "natGatewayId",
    "pcx-": "vpcPeeringConnectionId",
    "tgw-": "transitGatewayId",
}
"""How a target begins -> the element that has it; igw-, vgw-, vpce- and local are in gatewayId."""


def _endpoint_structure(world: World, endpoint: VpcEndpoint) -> Structure:
    interface = endpoint.type == "Interface"
    name = f"{endpoint.id}-{endpoint.id[-8:]}.{endpoint.service.rpartition('.')[2]}.{world.region}"
    return {
        "vpcEndpointId": endpoint.id,
        "vpcEndpointType": endpoint.type,
        "vpcId": endpoint.vpc,
        "serviceName": endpoint.service,
        "state": endpoint.state,
        "policyDocument": EVERYBODY,
        "routeTableIdSet": [],
        "subnetIdSet": list(endpoint.subnets),
        "groupSet": [{"groupId": group, "groupName": world.groups[group].name} for group in endpoint.groups],
        "privateDnsEnabled": interface and endpoint.private_dns,
        "requesterManaged": False,
        "networkInterfaceIdSet": [],
        "dnsEntrySet": [{"dnsName": f"{name}.vpce.amazonaws.com"}] if interface else [],
        "creationTimestamp": ATTACH_TIME,
        "ownerId": world.account,
        "tagSet": [],
    }


def _table_structure(world: World, table: RouteTable) -> Structure:
    return {
        "routeTableId": table.id,
        "vpcId": table.vpc,
        "ownerId": world.account,
        "associationSet": list(_associations(table)),
        "routeSet": [_route_structure(route) for route in table.routes],
        "propagatingVgwSet": [],
        "tagSet": [],
    }


def _associations(table: RouteTable) -> Iterator[Structure]:
    for number, subnet in enumerate(((None,) if table.main else ()) + table.subnets):
        yield {
            "routeTableAssociationId": f"rtbassoc-{number:01x}{table.id[-7:]}",
            "routeTableId": table.id,
            "subnetId": subnet,
            "main": subnet is None,
            "associationState": {"state": "associated"},
        }


def _route_structure(route: Route) -> Structure:
    if route.destination.startswith("pl-"):
        destination = "destinationPrefixListId"
    else:
        destination = f"destination{'Ipv6' if ':' in route.destination else ''}CidrBlock"
    target = next((name for start, name in _TARGETS.items() if route.target.startswith(start)), "gatewayId")
    return {
        destination: route.destination,
        target: route.target,
        "origin": "CreateRouteTable" if route.target == "local" else "CreateRoute",
        "state": "active" if route.active else "blackhole",
    }


ENDPOINTS = Kind[VpcEndpoint](
    ids_parameter="VpcEndpointId",
    everything=lambda world: world.endpoints,
    require=World.endpoint,
    filters={
        "service-name": lambda _, endpoint: [endpoint.service],
        "vpc-id": lambda _, endpoint: [endpoint.vpc],
        "vpc-endpoint-id": lambda _, endpoint: [endpoint.id],
        "vpc-endpoint-state": lambda _, endpoint: [endpoint.state],
        "vpc-endpoint-type": lambda _, endpoint: [endpoint.type],
    },
    show=_endpoint_structure,
)

ROUTE_TABLES = Kind[RouteTable](
    ids_parameter="RouteTableId",
    everything=lambda world: world.route_tables,
    require=World.route_table,
    filters={
        "association.main": lambda _, table: [table.main],
        "association.subnet-id": lambda _, table: table.subnets,
        "owner-id": lambda world, _: [world.account],
        "route-table-id": lambda _, table: [table.id],
        "route.destination-cidr-block": lambda _, table: [route.destination for route in table.routes],
        "route.state": lambda _, table: ["active" if route.active else "blackhole" for route in table.routes],
        "vpc-id": lambda _, table: [table.vpc],
    },
    show=_table_structure,
    largest_page=100,
)
