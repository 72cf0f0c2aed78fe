"""World files: a YAML document (or the same as a mapping) -> `World`.

```yaml
region: eu-central-1
account: "123456789012"
imds_delay_ms: 0                        # how long IMDS shows the addresses before a change
access_keys:                            # default: one key that may do everything, and see `roles`
  - {id: AKIAIOSFODNN7EXAMPLE, secret: …, actions: ["Describe*", AssignPrivateIpAddresses]}
roles:                                  # default: a role may do everything
  - {name: node, actions: ["Describe*"]}
subnets:
  - {id: subnet-…, vpc: vpc-…, cidr: 10.0.1.0/24, ipv6_cidr: "2001:db8::/64", az: eu-central-1a, tags: {}}
instances:
  - id: i-…
    type: m5.xlarge                     # or any type with `ipv4_per_interface: N`
    hop_limit: 2                        # 1 to 64, default 1, as EC2's
    http_tokens: required               # default; or optional
    http_endpoint: enabled              # default; or disabled
    host_addresses: [10.0.0.10]         # requests from here come without a network hop
    sources: [10.0.0.0/24]              # requests from here come from a pod of this instance
    role: node                          # IMDS gives out credentials of this role
    tags: {}
    interfaces:
      - {id: eni-…, mac: "02:…", device: 0, network_card: 0, subnet: subnet-…, primary: 10.0.1.10,
         secondaries: [10.0.1.11], tags: {}}
```

Optional keys may be left out. Identifiers have EC2's form. No two subnets may overlap, in whatever VPC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeVar

import yaml

from tests.doubles.document import DocumentError, Node
from tests.doubles.identifiers import INSTANCE, INTERFACE, SUBNET, VPC, Identifier
from tests.doubles.instance_types import IPV4_PER_INTERFACE
from tests.doubles.model import AccessKey, HttpTokens, Instance, NetworkInterface, Subnet, World
from tests.doubles.refusals import Ec2Error

DEFAULT_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
"""The access key of a world that lists none."""
DEFAULT_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

MAX_FILE_BYTES = 4 << 20

_MAC = r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}"
_NAME = r"[\w+=,.@-]{1,64}"
_INSTANCE_OPTIONS = (
    "ipv4_per_interface",
    "hop_limit",
    "http_tokens",
    "http_endpoint",
    "host_addresses",
    "role",
    "tags",
)

Identified = TypeVar("Identified", Subnet, Instance, NetworkInterface, AccessKey)


def load_world(source: Path | str | Mapping[str, object]) -> World:
    """Read a world from a file or a mapping; raises DocumentError that names the key."""
    if isinstance(source, Mapping):
        return _world(Node("world", dict(source)))
    path = Path(source)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DocumentError(f"{path}: is larger than {MAX_FILE_BYTES} bytes")
        return _world(Node(str(path), yaml.safe_load(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise DocumentError(f"{path}: can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: is no YAML: {error}") from error


def _world(node: Node) -> World:
    keys = node.mapping(
        required=("region", "account", "subnets", "instances"),
        optional=("imds_delay_ms", "access_keys", "roles"),
    )
    account = keys["account"].text(r"\d{12}", "twelve digits in quotes")
    subnets = _subnets(keys["subnets"])
    instances: dict[str, Instance] = {}
    interfaces: dict[str, NetworkInterface] = {}
    for item in keys["instances"].items():
        instance, attached = _instance(item)
        _add(instances, instance, item)
        for place, interface in attached:
            _check_interface(place, interface, interfaces, subnets, instance)
            _add(interfaces, interface, place)
        _check_instance(item, instance, instances, interfaces, subnets)
    return World(
        region=keys["region"].text(r"[a-z]{2,}(-[a-z]+)+-\d", "a region such as eu-central-1"),
        account=account,
        subnets=subnets,
        instances=instances,
        interfaces=interfaces,
        access_keys=_access_keys(keys.get("access_keys"), account),
        role_keys=_role_keys(keys.get("roles"), account, instances.values(), keys["instances"]),
        imds_delay=_integer(keys, "imds_delay_ms", 0, 0, 3_600_000) / 1000,
    )


def _subnets(node: Node) -> dict[str, Subnet]:
    subnets: dict[str, Subnet] = {}
    for item in node.items():
        keys = item.mapping(required=("id", "vpc", "cidr", "az"), optional=("ipv6_cidr", "tags"))
        cidr = keys["cidr"].parse(IPv4Network, "an IPv4 network such as 10.0.1.0/24")
        # "Subnet sizing" in the VPC user guide.
        if not 16 <= cidr.prefixlen <= 28:
            keys["cidr"].refuse(f"must be a /16 to a /28, is {cidr}")
        if other := next((known for known in subnets.values() if known.cidr.overlaps(cidr)), None):
            keys["cidr"].refuse(f"{cidr} overlaps {other.id} ({other.cidr})")
        ipv6 = keys.get("ipv6_cidr")
        subnet = Subnet(
            id=_identifier(keys["id"], SUBNET),
            vpc=_identifier(keys["vpc"], VPC),
            cidr=cidr,
            az=keys["az"].text(r"[a-z0-9-]+[a-z]", "an availability zone such as eu-central-1a"),
            ipv6_cidr=ipv6.parse(IPv6Network, "an IPv6 network such as 2001:db8::/64") if ipv6 else None,
            tags=_tags(keys),
        )
        _add(subnets, subnet, item)
    return subnets


def _instance(node: Node) -> tuple[Instance, list[tuple[Node, NetworkInterface]]]:
    keys = node.mapping(
        required=("id", "type", "sources", "interfaces"),
        optional=_INSTANCE_OPTIONS,
    )
    type_ = keys["type"].text(r"[a-z0-9-]+\.[a-z0-9-]+", "an instance type such as m5.xlarge")
    if type_ not in IPV4_PER_INTERFACE and "ipv4_per_interface" not in keys:
        keys["type"].refuse(f"the limit of {type_} is not known here: state ipv4_per_interface beside it")
    hosts = keys["host_addresses"].items() if "host_addresses" in keys else []
    role = keys.get("role")
    instance = Instance(
        id=_identifier(keys["id"], INSTANCE),
        type=type_,
        ipv4_per_interface=_integer(keys, "ipv4_per_interface", IPV4_PER_INTERFACE.get(type_, 0), 1, 64),
        sources=tuple(item.parse(ip_network, "a network") for item in keys["sources"].items()),
        host_addresses=frozenset(item.parse(ip_address, "an address") for item in hosts),
        hop_limit=_integer(keys, "hop_limit", 1, 1, 64),
        http_tokens=HttpTokens(_choice(keys, "http_tokens", "required", HttpTokens)),
        http_endpoint=_choice(keys, "http_endpoint", "enabled", ("enabled", "disabled")) == "enabled",
        role=role.text(_NAME, "an IAM role name") if role else None,
        tags=_tags(keys),
    )
    return instance, [(item, _interface(item, instance.id)) for item in keys["interfaces"].items()]


def _interface(node: Node, instance: str) -> NetworkInterface:
    keys = node.mapping(
        required=("id", "mac", "device", "subnet", "primary"),
        optional=("network_card", "secondaries", "tags"),
    )
    secondaries = keys["secondaries"].items() if "secondaries" in keys else []
    return NetworkInterface(
        id=_identifier(keys["id"], INTERFACE),
        mac=keys["mac"].text(_MAC, "six lower-case hexadecimal pairs with colons, in quotes"),
        instance=instance,
        device=keys["device"].integer(0, 63),
        network_card=keys["network_card"].integer(0, 15) if "network_card" in keys else None,
        subnet=_identifier(keys["subnet"], SUBNET),
        primary=keys["primary"].parse(IPv4Address, "an IPv4 address"),
        secondaries=tuple(item.parse(IPv4Address, "an IPv4 address") for item in secondaries),
        tags=_tags(keys),
    )


def _check_interface(
    node: Node,
    interface: NetworkInterface,
    others: Mapping[str, NetworkInterface],
    subnets: Mapping[str, Subnet],
    instance: Instance,
) -> None:
    if interface.subnet not in subnets:
        node.refuse(f"the subnet {interface.subnet} is not among the world's subnets")
    for index, address in enumerate(interface.addresses):
        try:
            subnets[interface.subnet].admit(address)
        except Ec2Error as error:
            node.refuse(error.message)
        if address in interface.addresses[:index]:
            node.refuse(f"{address} is there twice")
        if other := next((known for known in others.values() if address in known.addresses), None):
            node.refuse(f"{address} belongs to {other.id} already")
    if len(interface.addresses) > instance.ipv4_per_interface:
        node.refuse(f"{instance.type} allows {instance.ipv4_per_interface} addresses on one interface")
    for other in others.values():
        if other.mac == interface.mac:
            node.refuse(f"{other.id} has the MAC {interface.mac} already")
        if other.instance == interface.instance and _slot(other) == _slot(interface):
            node.refuse(f"{other.id} is device {interface.device} of that network card already")


def _check_instance(
    node: Node,
    instance: Instance,
    others: Mapping[str, Instance],
    interfaces: Mapping[str, NetworkInterface],
    subnets: Mapping[str, Subnet],
) -> None:
    mine = [interface for interface in interfaces.values() if interface.instance == instance.id]
    if (0, 0) not in map(_slot, mine):
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


def _slot(interface: NetworkInterface) -> tuple[int, int]:
    return interface.network_card or 0, interface.device


def _access_keys(node: Node | None, account: str) -> dict[str, AccessKey]:
    if node is None:
        arn = f"arn:aws:iam::{account}:user/everything"
        return {DEFAULT_KEY_ID: AccessKey(DEFAULT_KEY_ID, DEFAULT_SECRET, arn)}
    access_keys: dict[str, AccessKey] = {}
    for item in node.items():
        keys = item.mapping(required=("id", "secret"), optional=("actions",))
        identifier = keys["id"].text(r"[A-Z0-9]{16,128}", "16 to 128 capital letters and digits")
        arn = f"arn:aws:iam::{account}:user/{identifier}"
        key = AccessKey(identifier, keys["secret"].text(), arn)
        _add(access_keys, replace(key, actions=_actions(keys)), item)
    return access_keys


def _role_keys(
    node: Node | None, account: str, instances: Iterable[Instance], place: Node
) -> dict[str, AccessKey]:
    rights: dict[str, tuple[str, ...]] = {}
    for item in node.items() if node else []:
        keys = item.mapping(required=("name",), optional=("actions",))
        rights[keys["name"].text(_NAME, "an IAM role name")] = _actions(keys)
    found: dict[str, AccessKey] = {}
    for instance in instances:
        if instance.role and node and instance.role not in rights:
            place.refuse(f"the role {instance.role} of {instance.id} is not among the world's roles")
        if instance.role:
            key = _role_key(account, instance.id, instance.role)
            found[instance.id] = replace(key, actions=rights.get(instance.role, ("*",)))
    return found


def _role_key(account: str, instance: str, role: str) -> AccessKey:
    def derived(what: str) -> str:
        return hashlib.sha256(f"{what} {account} {instance} {role}".encode()).hexdigest()

    return AccessKey(
        id="ASIA" + derived("id")[:16].upper(),
        secret=derived("secret")[:40],
        arn=f"arn:aws:sts::{account}:assumed-role/{role}/{instance}",
        token=derived("token"),
    )


def _actions(keys: Mapping[str, Node]) -> tuple[str, ...]:
    if "actions" not in keys:
        return ("*",)
    meaning = "an EC2 action without prefix, with * and ? as in IAM"
    return tuple(item.text(r"[A-Za-z0-9*?]+", meaning) for item in keys["actions"].items())


def _identifier(node: Node, kind: Identifier) -> str:
    return node.text(kind.pattern, f"{kind.prefix} and 8 or 17 hexadecimal digits")


def _integer(keys: Mapping[str, Node], key: str, default: int, low: int, high: int) -> int:
    return keys[key].integer(low, high) if key in keys else default


def _choice(keys: Mapping[str, Node], key: str, default: str, allowed: Iterable[str]) -> str:
    return keys[key].choice(allowed) if key in keys else default


def _tags(keys: Mapping[str, Node]) -> dict[str, str]:
    return keys["tags"].pairs() if "tags" in keys else {}


def _add(known: dict[str, Identified], item: Identified, node: Node) -> None:
    if item.id in known:
        node.refuse(f"{item.id} is there twice")
    known[item.id] = item
