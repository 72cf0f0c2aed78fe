"""How subnets, instances and network interfaces look in EC2's answers, and by which filters they are found.

Element names are those of the service model "ec2-2016-11-15"; the filters are those that the EC2 API
reference lists for the Describe action, as far as the double has values for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from tests.doubles.ec2.describe import Kind, Resource
from tests.doubles.ec2.query_protocol import Structure, Value
from tests.doubles.state.model import World
from tests.doubles.state.resources import Attachment, Instance, NetworkInterface, Subnet

ATTACH_TIME = "2024-01-01T00:00:00.000Z"
IMAGE = "ami-0123456789abcdef0"


def security_group(vpc: str) -> str:
    """Return the id of a VPC's default security group."""
    return "sg-" + vpc.removeprefix("vpc-")


def groups_of(world: World, interface: NetworkInterface) -> tuple[str, ...]:
    """Return the ids of an interface's security groups."""
    return interface.groups or (security_group(world.subnets[interface.subnet].vpc),)


def _group_set(world: World, groups: Iterable[str]) -> list[Structure]:
    return [{"groupId": group, "groupName": world.groups[group].name} for group in groups]


def private_dns_name(world: World, address: object) -> str:
    """Return the IP-based host name of an address ("EC2 instance hostname types", EC2 user guide)."""
    domain = "ec2.internal" if world.region == "us-east-1" else f"{world.region}.compute.internal"
    return f"ip-{str(address).replace('.', '-')}.{domain}"


def _subnet_structure(world: World, subnet: Subnet) -> Structure:
    owner = subnet.owner or world.account
    ipv6: list[Structure] = []
    if subnet.ipv6_cidr:
        ipv6.append(
            {
                "associationId": _derived("subnet-cidr-assoc", subnet.id),
                "ipv6CidrBlock": str(subnet.ipv6_cidr),
                "ipv6CidrBlockState": {"state": "associated"},
            }
        )
    return {
        "subnetId": subnet.id,
        "subnetArn": f"arn:aws:ec2:{world.region}:{owner}:subnet/{subnet.id}",
        "state": "available",
        "ownerId": owner,
        "vpcId": subnet.vpc,
        "cidrBlock": str(subnet.cidr),
        "ipv6CidrBlockAssociationSet": ipv6,
        "availableIpAddressCount": world.free_address_count(subnet),
        "availabilityZone": subnet.az,
        "defaultForAz": False,
        "mapPublicIpOnLaunch": False,
        "assignIpv6AddressOnCreation": False,
        "ipv6Native": False,
        "tagSet": _tags(subnet),
    }


def _common(world: World, interface: NetworkInterface) -> dict[str, Value]:
    """What DescribeNetworkInterfaces and DescribeInstances both show of an interface."""
    vpc = world.subnets[interface.subnet].vpc
    addresses: list[Structure] = [
        {
            "privateIpAddress": str(address),
            "privateDnsName": private_dns_name(world, address),
            "primary": address == interface.primary,
            "association": _association(world, interface, address),
        }
        for address in interface.addresses
    ]
    return {
        "networkInterfaceId": interface.id,
        "subnetId": interface.subnet,
        "vpcId": vpc,
        "description": interface.description,
        "ownerId": world.account,
        "status": _status(interface),
        "macAddress": interface.mac,
        "privateIpAddress": str(interface.primary),
        "privateDnsName": private_dns_name(world, interface.primary),
        "sourceDestCheck": interface.source_dest_check,
        "groupSet": _group_set(world, groups_of(world, interface)),
        "privateIpAddressesSet": addresses,
        "association": _association(world, interface, interface.primary),
        "ipv6AddressesSet": [
            {"ipv6Address": str(address), "isPrimaryIpv6": False} for address in interface.ipv6s
        ],
        "ipv4PrefixSet": [{"ipv4Prefix": str(prefix)} for prefix in interface.ipv4_prefixes] or None,
        "ipv6PrefixSet": [{"ipv6Prefix": str(prefix)} for prefix in interface.ipv6_prefixes] or None,
        "interfaceType": interface.type,
    }


def _association(world: World, interface: NetworkInterface, address: IPv4Address) -> Structure | None:
    for each in interface.associations:
        if each.private == address:
            return {
                "allocationId": each.allocation,
                "associationId": each.id,
                "ipOwnerId": world.account,
                "publicIp": str(each.public),
            }
    return None


def _status(interface: NetworkInterface) -> str:
    return "in-use" if interface.attachment else "available"


def _attachment(attachment: Attachment) -> dict[str, Value]:
    return {
        "attachmentId": attachment.id,
        "deviceIndex": attachment.device,
        "networkCardIndex": attachment.network_card or 0,
        "status": str(attachment.status),
        "attachTime": ATTACH_TIME,
        "deleteOnTermination": attachment.ends_with_instance,
    }


def interface_structure(world: World, interface: NetworkInterface) -> Structure:
    """What DescribeNetworkInterfaces and CreateNetworkInterface show of an interface."""
    attachment = interface.attachment
    owner = {"instanceId": interface.instance, "instanceOwnerId": world.account}
    return {
        **_common(world, interface),
        "availabilityZone": world.subnets[interface.subnet].az,
        "requesterManaged": interface.managed,
        "attachment": {**_attachment(attachment), **owner} if attachment else None,
        "tagSet": _tags(interface),
    }


def _instance_structure(world: World, instance: Instance) -> Structure:
    profile = f"arn:aws:iam::{world.account}:instance-profile/{instance.role}"
    return {
        "instanceId": instance.id,
        "imageId": IMAGE,
        "instanceState": {"code": instance.state.code, "name": str(instance.state)},
        "dnsName": "",
        "amiLaunchIndex": 0,
        "instanceType": instance.type,
        "launchTime": ATTACH_TIME,
        "architecture": "x86_64",
        **_primary_structure(world, instance),
        "iamInstanceProfile": {"arn": profile} if instance.role else None,
        "metadataOptions": {
            "state": "applied",
            "httpTokens": str(instance.http_tokens),
            "httpPutResponseHopLimit": instance.hop_limit,
            "httpEndpoint": "enabled" if instance.http_endpoint else "disabled",
            "httpProtocolIpv6": "disabled",
        },
        "sourceDestCheck": True,
        "tagSet": _tags(instance),
    }


def _primary_structure(world: World, instance: Instance) -> dict[str, Value]:
    """What an instance shows of its interfaces; one that is terminated has none any more."""
    interfaces = world.interfaces_of(instance.id)
    if not interfaces:
        return {"privateDnsName": "", "networkInterfaceSet": [], "groupSet": []}
    primary = interfaces[0]
    subnet = world.subnets[primary.subnet]
    return {
        "privateDnsName": private_dns_name(world, primary.primary),
        "placement": {"availabilityZone": subnet.az, "groupName": "", "tenancy": "default"},
        "subnetId": primary.subnet,
        "vpcId": subnet.vpc,
        "privateIpAddress": str(primary.primary),
        "groupSet": _group_set(world, groups_of(world, primary)),
        "networkInterfaceSet": [
            {**_common(world, interface), "attachment": _attachment(interface.attachment)}
            for interface in interfaces
            if interface.attachment
        ],
    }


def _reservation(world: World, instance: Instance) -> Structure:
    return {
        "reservationId": _derived("r", instance.id),
        "ownerId": world.account,
        "groupSet": [],
        "instancesSet": [_instance_structure(world, instance)],
    }


def _tags(resource: Resource) -> list[Structure]:
    return [{"key": key, "value": value} for key, value in resource.tags.items()]


def _derived(prefix: str, identifier: str) -> str:
    """Return the id of something that belongs to one resource alone."""
    return f"{prefix}-{identifier.split('-')[1]}"


def _of_attachment(
    value: Callable[[World, Attachment], object],
) -> Callable[[World, NetworkInterface], list[object]]:
    """A filter's value that only attached interfaces have."""
    return lambda world, interface: [value(world, interface.attachment)] if interface.attachment else []


SUBNETS = Kind[Subnet](
    ids_parameter="SubnetId",
    everything=lambda world: world.subnets,
    require=World.subnet,
    filters={
        "subnet-id": lambda _, subnet: [subnet.id],
        "vpc-id": lambda _, subnet: [subnet.vpc],
        "cidr-block": lambda _, subnet: [subnet.cidr],
        "availability-zone": lambda _, subnet: [subnet.az],
        "available-ip-address-count": lambda world, subnet: [world.free_address_count(subnet)],
        "ipv6-cidr-block-association.ipv6-cidr-block": lambda _, subnet: filter(None, [subnet.ipv6_cidr]),
        "owner-id": lambda world, subnet: [subnet.owner or world.account],
        "state": lambda *_: ["available"],
    },
    show=_subnet_structure,
)

INTERFACES = Kind[NetworkInterface](
    ids_parameter="NetworkInterfaceId",
    everything=lambda world: world.interfaces,
    require=World.interface,
    filters={
        "network-interface-id": lambda _, interface: [interface.id],
        "mac-address": lambda _, interface: [interface.mac],
        "subnet-id": lambda _, interface: [interface.subnet],
        "vpc-id": lambda world, interface: [world.subnets[interface.subnet].vpc],
        "availability-zone": lambda world, interface: [world.subnets[interface.subnet].az],
        "group-id": groups_of,
        "description": lambda _, interface: [interface.description],
        "interface-type": lambda _, interface: [interface.type],
        "owner-id": lambda world, _: [world.account],
        "requester-managed": lambda _, interface: [interface.managed],
        "source-dest-check": lambda _, interface: [interface.source_dest_check],
        "status": lambda _, interface: [_status(interface)],
        "private-dns-name": lambda world, interface: [private_dns_name(world, interface.primary)],
        "private-ip-address": lambda _, interface: [interface.primary],
        "addresses.private-ip-address": lambda _, interface: interface.addresses,
        "addresses.association.public-ip": lambda _, interface: [
            each.public for each in interface.associations
        ],
        "addresses.primary": lambda _, interface: [True, *(False for _ in interface.secondaries)],
        "ipv6-addresses.ipv6-address": lambda _, interface: interface.ipv6s,
        "attachment.attach-time": _of_attachment(lambda *_: ATTACH_TIME),
        "attachment.attachment-id": _of_attachment(lambda _, attachment: attachment.id),
        "attachment.instance-id": _of_attachment(lambda _, attachment: attachment.instance),
        "attachment.instance-owner-id": _of_attachment(lambda world, _: world.account),
        "attachment.device-index": _of_attachment(lambda _, attachment: attachment.device),
        "attachment.status": _of_attachment(lambda _, attachment: attachment.status),
        "attachment.delete-on-termination": _of_attachment(
            lambda _, attachment: attachment.ends_with_instance
        ),
    },
    show=interface_structure,
)

INSTANCES = Kind[Instance](
    ids_parameter="InstanceId",
    everything=lambda world: world.instances,
    require=World.instance,
    filters={
        "instance-id": lambda _, instance: [instance.id],
        "instance-type": lambda _, instance: [instance.type],
        "instance-state-code": lambda _, instance: [instance.state.code],
        "instance-state-name": lambda _, instance: [instance.state],
        "availability-zone": lambda world, instance: [
            subnet.az for subnet in _primary_subnet(world, instance)
        ],
        "subnet-id": lambda world, instance: [subnet.id for subnet in _primary_subnet(world, instance)],
        "vpc-id": lambda world, instance: [subnet.vpc for subnet in _primary_subnet(world, instance)],
        "private-ip-address": lambda world, instance: [
            interface.primary for interface in world.interfaces_of(instance.id)[:1]
        ],
        "network-interface.network-interface-id": lambda world, instance: [
            interface.id for interface in world.interfaces_of(instance.id)
        ],
        "network-interface.mac-address": lambda world, instance: [
            interface.mac for interface in world.interfaces_of(instance.id)
        ],
        "network-interface.addresses.private-ip-address": lambda world, instance: [
            address for interface in world.interfaces_of(instance.id) for address in interface.addresses
        ],
        "network-interface.ipv6-addresses.ipv6-address": lambda world, instance: [
            address for interface in world.interfaces_of(instance.id) for address in interface.ipv6s
        ],
    },
    show=_reservation,
)


def _primary_subnet(world: World, instance: Instance) -> list[Subnet]:
    """Return the subnet of its first interface; none for an instance that is terminated."""
    return [world.subnets[interface.subnet] for interface in world.interfaces_of(instance.id)[:1]]
