"""Do the VPC's subnets fit the networks?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from check.cluster import Cluster
from check.model import AWS, RESERVATIONS, Object, Verdict, as_objects, text_of
from check.net_attach_defs import HOST_LOCAL, WHEREABOUTS, Network
from check.results import Check, Problem
from check.shell_commands import aws_command, edit_command
from ipagent.assign.addresses import IPNetwork

_VPC_IPAMS = (WHEREABOUTS, HOST_LOCAL)


def _ranges(cluster: Cluster) -> Iterator[Problem]:
    subnets = {eni.subnet_id for eni in cluster.pod_enis}
    described = [each for each in cluster.aws.subnets if text_of(each.get("SubnetId")) in subnets]
    cidrs = [cidr for each in described for cidr in _cidrs(each)]
    for network, text in _outside(cluster.vpc_networks, cidrs):
        shown = ", ".join(map(str, cidrs)) or "none"
        problem = f"{network.key}: {text} is in no subnet of the nodes' ENIs ({shown})"
        yield Problem(problem, edit_command("NetworkAttachmentDefinition", network.key))


def _reservations(cluster: Cluster) -> Iterator[Problem]:
    cidrs = [cidr for each in cluster.aws.reservations for cidr in _parsed([each.get("Cidr")])]
    # A prefix of an ENI is EC2's own choice, and nobody else is given addresses of it.
    networks = [each for each in cluster.vpc_networks if each.pool not in cluster.prefix_pools]
    for network, text in _outside(networks, cidrs):
        problem = f"{network.key}: {text} is not within a CIDR reservation of its subnet"
        yield Problem(problem, _reserve(cluster, text))


def _reserve(cluster: Cluster, text: str) -> str:
    """Return the command that reserves a range, empty where it is no CIDR of one subnet."""
    for wanted in _parsed([text]):
        for subnet in cluster.aws.subnets:
            if any(wanted.version == cidr.version and wanted.subnet_of(cidr) for cidr in _cidrs(subnet)):  # type: ignore[arg-type] # of one version
                what = ("--subnet-id", text_of(subnet.get("SubnetId")), "--cidr", str(wanted))
                kind = ("--reservation-type", "explicit")
                return aws_command(cluster, "ec2", "create-subnet-cidr-reservation", *what, *kind)
    return ""


def _outside(networks: Iterable[Network], cidrs: list[IPNetwork]) -> Iterator[tuple[Network, str]]:
    for network in networks:
        for each in network.ranges:
            if network.ipam.get("type") in _VPC_IPAMS and not any(each.within(cidr) for cidr in cidrs):
                yield network, each.text


def _cidrs(subnet: Object) -> Iterator[IPNetwork]:
    ipv6 = [each.get("Ipv6CidrBlock") for each in as_objects(subnet.get("Ipv6CidrBlockAssociationSet"))]
    yield from _parsed([subnet.get("CidrBlock"), *ipv6])


def _parsed(texts: Iterable[object]) -> Iterator[IPNetwork]:
    for text in texts:
        try:
            yield ipaddress.ip_network(str(text))
        except ValueError:
            continue


VPC = (
    Check(
        "aws-ranges",
        "networks' ranges are in subnets of the ENIs",
        "correct the range, or attach an ENI in that subnet: no ENI can carry the addresses (exit code 13)",
        _ranges,
        needs=(AWS, "NetworkAttachmentDefinition"),
        pre=True,
    ),
    Check(
        "aws-reservations",
        "networks' ranges are reserved in their subnets",
        "aws ec2 create-subnet-cidr-reservation --reservation-type explicit: else EC2 hands them out",
        _reservations,
        Verdict.WARNING,
        needs=(AWS, RESERVATIONS, "NetworkAttachmentDefinition"),
        pre=True,
    ),
)
