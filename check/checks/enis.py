"""Are the nodes' ENIs fit for Multus pods?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from check.cluster import Cluster
from check.model import AWS, NotApplicable, Verdict
from check.results import Check, Problem
from check.shell_commands import aws_command, node_status_command
from common.agent_settings import Backend, Credentials
from common.object_fields import as_map
from ipagent.assign.holders import NO_MANAGE
from ipagent.assign.topology import EniDetails
from webhook.core.settings import Settings

LEAST_HOPS = 2
"""A pod is one hop further from IMDS than its node."""


def _enis(cluster: Cluster) -> Iterator[Problem]:
    held = {eni.instance_id for eni in cluster.pod_enis}
    for node in cluster.nodes_with_pods:
        instance = cluster.instances.get(node)
        if instance and instance not in held and node not in cluster.exempt_nodes:
            text = f"{node} ({instance}) has Multus pods, and no ENI that may carry their addresses"
            wanted = ("--filters", f"Name=attachment.instance-id,Values={instance}")
            fields = "NetworkInterfaceId,Attachment.DeviceIndex,SubnetId,TagSet"
            yield Problem(text, _show(cluster, wanted, fields))


def _tags(cluster: Cluster) -> Iterator[Problem]:
    for eni in cluster.pod_enis:
        if not eni.no_manage:
            tag = ("--resources", eni.eni_id, "--tags", f"Key={NO_MANAGE},Value=true")
            text = f"{_name(cluster, eni)} lacks the tag {NO_MANAGE}=true"
            yield Problem(text, aws_command(cluster, "ec2", "create-tags", *tag))


def _subnets(cluster: Cluster) -> Iterator[Problem]:
    together: dict[tuple[str, str], list[str]] = defaultdict(list)
    for eni in cluster.pod_enis:
        together[eni.instance_id, eni.subnet_id].append(eni.eni_id)
    for (instance, subnet), enis in together.items():
        if len(enis) > 1:
            text = f"{cluster.node_of(instance)} has {', '.join(sorted(enis))} in one subnet, {subnet}"
            wanted = ("--network-interface-ids", *sorted(enis))
            fields = "NetworkInterfaceId,Attachment.DeviceIndex,MacAddress,Description"
            yield Problem(text, _show(cluster, wanted, fields))


def _slots(cluster: Cluster) -> Iterator[Problem]:
    limits = {
        str(each.get("InstanceType")): as_map(each.get("NetworkInfo")).get("Ipv4AddressesPerInterface")
        for each in cluster.aws.instance_types
    }
    types = {str(each.get("InstanceId")): str(each.get("InstanceType")) for each in cluster.aws.instances}
    for eni in cluster.pod_enis:
        limit = limits.get(types.get(eni.instance_id, ""))
        used = sum(address.version == 4 for address in eni.addresses)
        # What is free within prefixes is not known here.
        if isinstance(limit, int) and used >= limit and not eni.prefixes:
            text = f"{_name(cluster, eni)} has {used} of {limit} IPv4 addresses"
            # The node agent knows which of them belong to its pods.
            known = node_status_command(cluster, cluster.node_of(eni.instance_id))
            wanted = ("--network-interface-ids", eni.eni_id)
            yield Problem(text, known or _show(cluster, wanted, "PrivateIpAddresses[].PrivateIpAddress"))


def _source_dest(cluster: Cluster) -> Iterator[Problem]:
    found: dict[str, dict[bool, list[EniDetails]]] = defaultdict(lambda: defaultdict(list))
    checks = {
        str(each.get("NetworkInterfaceId")): each.get("SourceDestCheck") is not False
        for each in cluster.aws.network_interfaces
    }
    for eni in cluster.pod_enis:
        found[eni.subnet_id][checks.get(eni.eni_id, True)].append(eni)
    for subnet, by_check in found.items():
        if len(by_check) > 1:
            off = ", ".join(_name(cluster, eni) for eni in by_check[False])
            text = f"{subnet}: the source/destination check is off on {off}, and on for the others"
            wanted = ("--filters", f"Name=subnet-id,Values={subnet}")
            yield Problem(
                text, _show(cluster, wanted, "NetworkInterfaceId,SourceDestCheck,Attachment.InstanceId")
            )


def _hop_limit(cluster: Cluster) -> Iterator[Problem]:
    if cluster.installation.backend is not Backend.DIRECT:
        raise NotApplicable("pods need no IMDS: they ask the node agent (agent.backend)")
    if _works_without_imds(cluster.installation.settings):
        raise NotApplicable("agents work without IMDS: agent.env has AWS_REGION")
    # Other nodes, and instances that are none, may well keep pods from IMDS.
    wanted = {cluster.instances.get(node) for node in cluster.nodes_with_pods}
    wanted |= {eni.instance_id for eni in cluster.pod_enis}
    for each in cluster.aws.instances:
        if each.get("InstanceId") not in wanted:
            continue
        options = as_map(each.get("MetadataOptions"))
        node, hops = cluster.node_of(str(each.get("InstanceId"))), options.get("HttpPutResponseHopLimit")
        if options.get("HttpEndpoint") == "disabled":
            yield Problem(f"{node}: IMDS is disabled", _open_imds(cluster, node))
        elif isinstance(hops, int) and hops < LEAST_HOPS:
            yield Problem(f"{node}: HttpPutResponseHopLimit is {hops}", _open_imds(cluster, node))


def _works_without_imds(settings: Settings | None) -> bool:
    if settings is None or settings.agent.credentials is Credentials.NODE:
        return False
    return any(each.name == "AWS_REGION" for each in settings.env)


def _open_imds(cluster: Cluster, node: str) -> str:
    hops = ("--http-endpoint", "enabled", "--http-put-response-hop-limit", str(LEAST_HOPS))
    instance = cluster.instances[node]
    return aws_command(cluster, "ec2", "modify-instance-metadata-options", "--instance-id", instance, *hops)


def _show(cluster: Cluster, wanted: Iterable[str], fields: str) -> str:
    """Return the command that shows these fields of ENIs, by filters or ids."""
    query = f"NetworkInterfaces[].{fields if '[' in fields else f'[{fields}]'}"
    return aws_command(cluster, "ec2", "describe-network-interfaces", *wanted, "--query", query)


def _name(cluster: Cluster, eni: EniDetails) -> str:
    return f"{eni.eni_id} of {cluster.node_of(eni.instance_id)}"


ENIS = (
    Check(
        "nodes-enis",
        "nodes have ENIs for Multus pods",
        "attach an ENI beside device 0, in the network's subnet: docs/install.md#before-you-install",
        _enis,
        needs=(AWS, "Pod"),
    ),
    Check(
        "nodes-eni-tags",
        "ENIs for pods carry the tag that keeps the VPC CNI off",
        f"aws ec2 create-tags --resources ENI --tags Key={NO_MANAGE},Value=true",
        _tags,
        needs=(AWS,),
        pre=True,
    ),
    Check(
        "nodes-eni-subnets",
        "a node's ENIs are in different subnets",
        "give each ENI a subnet of its own, or use ipvlan, whose MAC decides: docs/agent.md",
        _subnets,
        Verdict.WARNING,
        needs=(AWS,),
        pre=True,
    ),
    Check(
        "nodes-eni-slots",
        "ENIs have room for addresses",
        "free what no pod uses (ipagent release), or use an instance type with more addresses",
        _slots,
        Verdict.WARNING,
        needs=(AWS,),
    ),
    Check(
        "nodes-source-dest",
        "the source/destination check is the same on a subnet's ENIs",
        "aws ec2 modify-network-interface-attribute --network-interface-id ENI: --no-source-dest-check where "
        "pods forward traffic of others, --source-dest-check elsewhere",
        _source_dest,
        Verdict.WARNING,
        needs=(AWS,),
        pre=True,
    ),
    Check(
        "nodes-hop-limit",
        "pods reach IMDS",
        "keep the hop limit, and set agent.backend=node, or AWS_REGION in agent.env with a role for the pods "
        "(EKS Pod Identity, IRSA). Or run the command (with an overlay network 3 in place of 2): then every "
        "pod of the node can use the node's role",
        _hop_limit,
        Verdict.WARNING,
        needs=(AWS,),
        pre=True,
    ),
)
