"""The instances and network interfaces of a world file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tests.doubles.config.document import Node
from tests.doubles.config.fields import NAME, add, choice, identifier, integer, tags
from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.state.identifiers import INSTANCE, INTERFACE, SUBNET, attachment_of
from tests.doubles.state.instance_types import TYPES, NetworkInfo
from tests.doubles.state.resources import Address, Attachment, HttpTokens, Instance, NetworkInterface, Subnet

Interfaces = dict[str, NetworkInterface]

_MAC = r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}"
_INSTANCE_OPTIONS = (
    "ipv4_per_interface",
    "ipv6_per_interface",
    "max_interfaces",
    "hop_limit",
    "http_tokens",
    "http_endpoint",
    "host_addresses",
    "role",
    "tags",
)
_INTERFACE_OPTIONS = (
    "secondaries",
    "ipv6s",
    "ipv4_prefixes",
    "ipv6_prefixes",
    "description",
    "tags",
    "type",
    "managed",
)
INTERFACE_TYPES = ("interface", "trunk", "branch", "efa", "efa-only", "lambda", "load_balancer", "natGateway")
"""Some of those that the service model lists as `NetworkInterfaceType`."""
_UNKNOWN = NetworkInfo(max_interfaces=64, ipv4_per_interface=0, ipv6_per_interface=0)

_REQUIRED = ("id", "mac", "subnet", "primary")


def read_instances(node: Node, subnets: Mapping[str, Subnet]) -> tuple[dict[str, Instance], Interfaces]:
    """Read `instances`, each with its interfaces."""
    instances: dict[str, Instance] = {}
    interfaces: Interfaces = {}
    for item in node.items():
        instance, attached = _instance(item)
        add(instances, instance, item)
        for place, interface in attached:
            check_interface(place, interface, interfaces, subnets, instance)
            add(interfaces, interface, place)
        _check_instance(item, instance, instances, interfaces, subnets)
    return instances, interfaces


def read_unattached(node: Node, interfaces: Interfaces, subnets: Mapping[str, Subnet]) -> None:
    """Read `interfaces`: those that are attached nowhere, and add them to the others."""
    for item in node.items():
        interface = _interface(item, item.mapping(required=_REQUIRED, optional=_INTERFACE_OPTIONS))
        check_interface(item, interface, interfaces, subnets, None)
        add(interfaces, interface, item)


def _instance(node: Node) -> tuple[Instance, list[tuple[Node, NetworkInterface]]]:
    keys = node.mapping(required=("id", "type", "sources", "interfaces"), optional=_INSTANCE_OPTIONS)
    hosts = keys["host_addresses"].items() if "host_addresses" in keys else []
    role = keys.get("role")
    instance = Instance(
        id=identifier(keys["id"], INSTANCE),
        type=keys["type"].text(r"[a-z0-9-]+\.[a-z0-9-]+", "an instance type such as m5.xlarge"),
        limits=_limits(keys),
        sources=tuple(item.parse(ip_network, "a network") for item in keys["sources"].items()),
        host_addresses=frozenset(item.parse(ip_address, "an address") for item in hosts),
        hop_limit=integer(keys, "hop_limit", 1, 1, 64),
        http_tokens=HttpTokens(choice(keys, "http_tokens", "required", HttpTokens)),
        http_endpoint=choice(keys, "http_endpoint", "enabled", ("enabled", "disabled")) == "enabled",
        role=role.text(NAME, "an IAM role name") if role else None,
        tags=tags(keys),
    )
    return instance, [(item, _attached(item, instance.id)) for item in keys["interfaces"].items()]


def _limits(keys: Mapping[str, Node]) -> NetworkInfo:
    name = str(keys["type"].value)
    if name not in TYPES and "ipv4_per_interface" not in keys:
        keys["type"].refuse(f"the limit of {name} is not known here: state ipv4_per_interface beside it")
    known = TYPES.get(name, _UNKNOWN)
    ipv4 = integer(keys, "ipv4_per_interface", known.ipv4_per_interface, 1, 64)
    return replace(
        known,
        max_interfaces=integer(keys, "max_interfaces", known.max_interfaces, 1, 64),
        ipv4_per_interface=ipv4,
        ipv6_per_interface=integer(keys, "ipv6_per_interface", known.ipv6_per_interface or ipv4, 0, 64),
    )


def _attached(node: Node, instance: str) -> NetworkInterface:
    keys = node.mapping(required=(*_REQUIRED, "device"), optional=(*_INTERFACE_OPTIONS, "network_card"))
    interface = _interface(node, keys)
    attachment = Attachment(
        id=attachment_of(interface.id),
        instance=instance,
        device=keys["device"].integer(0, 63),
        network_card=keys["network_card"].integer(0, 15) if "network_card" in keys else None,
    )
    return replace(interface, attachment=attachment)


def _interface(node: Node, keys: Mapping[str, Node]) -> NetworkInterface:
    def items(key: str) -> list[Node]:
        return keys[key].items() if key in keys else []

    interface = NetworkInterface(
        id=identifier(keys["id"], INTERFACE),
        mac=keys["mac"].text(_MAC, "six lower-case hexadecimal pairs with colons, in quotes"),
        subnet=identifier(keys["subnet"], SUBNET),
        primary=keys["primary"].parse(IPv4Address, "an IPv4 address"),
        secondaries=tuple(item.parse(IPv4Address, "an IPv4 address") for item in items("secondaries")),
        ipv6s=tuple(item.parse(IPv6Address, "an IPv6 address") for item in items("ipv6s")),
        ipv4_prefixes=tuple(item.parse(IPv4Network, "an IPv4 prefix") for item in items("ipv4_prefixes")),
        ipv6_prefixes=tuple(item.parse(IPv6Network, "an IPv6 prefix") for item in items("ipv6_prefixes")),
        description=keys["description"].text() if "description" in keys else "",
        tags=tags(keys),
        type=choice(keys, "type", "interface", INTERFACE_TYPES),
        managed=keys["managed"].flag() if "managed" in keys else False,
    )
    # "Prefix delegation for Amazon EC2 network interfaces", EC2 user guide.
    prefixes: list[IPv4Network | IPv6Network] = [*interface.ipv4_prefixes, *interface.ipv6_prefixes]
    for prefix in prefixes:
        if prefix.prefixlen != (28 if prefix.version == 4 else 80):
            node.refuse(f"{prefix} must be a /28 (IPv4) or a /80 (IPv6)")
    return interface


def check_interface(
    node: Node,
    interface: NetworkInterface,
    others: Mapping[str, NetworkInterface],
    subnets: Mapping[str, Subnet],
    instance: Instance | None,
) -> None:
    """Refuse an interface that can't be beside the others."""
    if interface.subnet not in subnets:
        node.refuse(f"the subnet {interface.subnet} is not among the world's subnets")
    _check_addresses(node, interface, others, subnets[interface.subnet])
    if instance:
        _check_limits(node, interface, instance)
    for other in others.values():
        if other.mac == interface.mac:
            node.refuse(f"{other.id} has the MAC {interface.mac} already")
        if (
            interface.attachment
            and other.attachment
            and _place(other.attachment) == _place(interface.attachment)
        ):
            device = interface.attachment.device
            node.refuse(f"{other.id} is device {device} of that network card already")


def _check_addresses(
    node: Node, interface: NetworkInterface, others: Mapping[str, NetworkInterface], subnet: Subnet
) -> None:
    prefixes: list[IPv4Network | IPv6Network] = [*interface.ipv4_prefixes, *interface.ipv6_prefixes]
    single: list[Address] = [*interface.addresses, *interface.ipv6s]
    listed: list[Address] = [*single, *(edge for prefix in prefixes for edge in (prefix[0], prefix[-1]))]
    for index, address in enumerate(listed):
        try:
            subnet.admit(address)
        except Ec2Error as error:
            node.refuse(error.message)
        if address in listed[:index]:
            node.refuse(f"{address} is there twice")
        if other := next((known for known in others.values() if known.holds(address)), None):
            node.refuse(f"{address} belongs to {other.id} already")


def _check_limits(node: Node, interface: NetworkInterface, instance: Instance) -> None:
    limits = instance.limits
    if len(interface.addresses) + len(interface.ipv4_prefixes) > limits.ipv4_per_interface:
        node.refuse(f"{instance.type} allows {limits.ipv4_per_interface} addresses on one interface")
    if len(interface.ipv6s) + len(interface.ipv6_prefixes) > limits.ipv6_per_interface:
        node.refuse(f"{instance.type} allows {limits.ipv6_per_interface} IPv6 addresses on one interface")


def _check_instance(
    node: Node,
    instance: Instance,
    others: Mapping[str, Instance],
    interfaces: Interfaces,
    subnets: Mapping[str, Subnet],
) -> None:
    mine = [interface for interface in interfaces.values() if interface.instance == instance.id]
    if (0, 0) not in [interface.attachment.slot for interface in mine if interface.attachment]:
        node.refuse("needs an interface with device 0: no instance is without")
    if len({subnets[interface.subnet].az for interface in mine}) > 1:
        node.refuse("its interfaces' subnets lie in several availability zones")
    for other in others.values():
        if other.id != instance.id and _sources_overlap(instance, other):
            node.refuse(
                f"its sources or host_addresses overlap those of {other.id}: which one would be asking?"
            )


def _sources_overlap(one: Instance, other: Instance) -> bool:
    def networks(instance: Instance) -> list[IPv4Network | IPv6Network]:
        return [*instance.sources, *map(ip_network, instance.host_addresses)]

    return any(a.version == b.version and a.overlaps(b) for a in networks(one) for b in networks(other))


def _place(attachment: Attachment) -> tuple[str, tuple[int, int]]:
    return attachment.instance, attachment.slot
