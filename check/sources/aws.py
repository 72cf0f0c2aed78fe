"""Reads from EC2 what it shows of a cluster's nodes, for `--aws`, with the AWS credentials of the shell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from check.cluster import Cluster
from check.model import AWS, ENDPOINTS, GROUPS, REGION, RESERVATIONS, Aws, Scope, Snapshot, as_objects

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

AT_ONCE = 100
"""Instances in one request."""


def with_aws(snapshot: Snapshot) -> Snapshot:
    """Add what EC2 shows of the nodes; what it refuses is missing, with its own sentence."""
    # Late: only --aws needs it.
    import botocore.session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    instances = sorted(Cluster(snapshot, Scope()).instances.values())
    if not instances:
        return _without(snapshot, "no node is an EC2 instance (spec.providerID)")
    regions = {node.labels[REGION] for node in snapshot.all("Node") if REGION in node.labels}
    try:
        session = botocore.session.get_session()
        client = cast("EC2Client", session.create_client("ec2", region_name=min(regions, default=None)))
        found = _read(client, instances)
    except (BotoCoreError, ClientError) as error:
        return _without(snapshot, f"EC2 can't be asked: {error}")
    missing = {what: why for what, why in snapshot.missing.items() if what not in SOURCES}
    for source, read in FURTHER.items():
        try:
            found = read(client, found)
        except (BotoCoreError, ClientError) as error:
            missing[source] = f"EC2 can't be asked: {error}"
    return replace(snapshot, aws=found, missing=missing)


def _without(snapshot: Snapshot, why: str) -> Snapshot:
    return replace(snapshot, missing={**snapshot.missing, **dict.fromkeys(SOURCES, why)})


def _read(client: EC2Client, instances: list[str]) -> Aws:
    interfaces: list[Any] = []
    machines: list[Any] = []
    for start in range(0, len(instances), AT_ONCE):
        some = instances[start : start + AT_ONCE]
        filters = [{"Name": "attachment.instance-id", "Values": some}]
        interfaces += _pages(client, "describe_network_interfaces", "NetworkInterfaces", Filters=filters)
        by_id = [{"Name": "instance-id", "Values": some}]
        found = _pages(client, "describe_instances", "Reservations", Filters=by_id)
        machines += [each for part in found for each in part.get("Instances", ())]
    types = sorted({str(each["InstanceType"]) for each in machines})
    subnets = sorted({str(each["SubnetId"]) for each in interfaces})
    described = _pages(client, "describe_subnets", "Subnets", SubnetIds=subnets) if subnets else ()
    kinds = _pages(client, "describe_instance_types", "InstanceTypes", InstanceTypes=types) if types else ()
    return Aws(tuple(interfaces), tuple(machines), tuple(kinds), tuple(described))


def _with_reservations(client: EC2Client, found: Aws) -> Aws:
    answers = [
        client.get_subnet_cidr_reservations(SubnetId=str(subnet["SubnetId"])) for subnet in found.subnets
    ]
    keys = ("SubnetIpv4CidrReservations", "SubnetIpv6CidrReservations")
    return replace(
        found,
        reservations=tuple(
            each for answer in answers for key in keys for each in as_objects(answer.get(key))
        ),
    )


def _with_endpoints(client: EC2Client, found: Aws) -> Aws:
    vpcs = sorted({str(each["VpcId"]) for each in found.network_interfaces})
    within = [{"Name": "vpc-id", "Values": vpcs}]
    return replace(
        found,
        endpoints=tuple(_pages(client, "describe_vpc_endpoints", "VpcEndpoints", Filters=within)),
        route_tables=tuple(_pages(client, "describe_route_tables", "RouteTables", Filters=within)),
    )


def _with_groups(client: EC2Client, found: Aws) -> Aws:
    """Read the security groups of the endpoints; without endpoints there is nothing to ask."""
    groups = sorted(
        {str(group["GroupId"]) for each in found.endpoints for group in as_objects(each.get("Groups"))}
    )
    within = [{"Name": "group-id", "Values": groups}]
    shown = _pages(client, "describe_security_groups", "SecurityGroups", Filters=within) if groups else ()
    return replace(found, groups=tuple(shown))


FURTHER: Mapping[str, Callable[[EC2Client, Aws], Aws]] = MappingProxyType(
    {RESERVATIONS: _with_reservations, ENDPOINTS: _with_endpoints, GROUPS: _with_groups}
)
"""What is asked beyond ENIs, instances and subnets: each may be refused by itself."""
SOURCES = (AWS, *FURTHER)


def _pages(client: Any, operation: str, key: str, **parameters: object) -> Iterable[Any]:
    for page in client.get_paginator(operation).paginate(**parameters):
        yield from page.get(key, ())
