"""World files: a YAML document (or the same as a mapping) -> `World`.

```yaml
region: eu-central-1
account: "123456789012"
imds_delay_ms: 0                    # for how long IMDS shows interfaces and addresses as before a change
imds:                               # interfaces that IMDS shows otherwise: later, or with names missing
  eni-0a000000000000000: {delay_ms: 4000, hidden: [device-number]}    # hidden: ["*"]: the whole entry
attach_delay_ms: 0                  # for how long an interface is attaching, or detaching
describe_delay_ms: 0                # for how long other calls do not know an interface that was created
throttling: off                     # or ec2: EC2's token buckets
limits:                             # token buckets of single actions, in place of EC2's or of none
  AssignPrivateIpAddresses: {size: 10, refill: 1}
access_keys:                        # default: one key that may do everything
  - id: AKIAIOSFODNN7EXAMPLE
    secret: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
    actions: ["Describe*", AssignPrivateIpAddresses]    # on everything
roles:                              # default: a role may do everything
  - {name: node, actions: ["Describe*"]}
  - name: controller                # an IAM policy in place of actions, also for access_keys
    policy:
      Version: "2012-10-17"
      Statement: {Effect: Allow, Action: "ec2:Describe*", Resource: "*"}
elastic_ip_quota: 5                 # how many Elastic IPs the account may have
internet_gateways: [vpc-0a000000000000001]    # VPCs that have one; default: all
elastic_ips:
  - id: eipalloc-0a000000000000001
    public_ip: 198.51.100.1
    network_border_group: eu-central-1    # default: the region's
    tags: {pool: sip}
security_groups:                    # beside the default one of each VPC, whose id is the VPC's with sg-
  - id: sg-0b000000000000001
    vpc: vpc-0a000000000000001
    name: multus
    tags: {multus: oam}
    ingress: [{protocol: tcp, from: 443, to: 443, cidrs: [10.0.0.0/16], groups: [sg-0a000000000000001]}]
vpc_endpoints:                      # also type: Gateway, state: pending, private_dns: false, subnets, groups
  - {id: vpce-0a000000000000001, vpc: vpc-0a000000000000001, service: com.amazonaws.eu-central-1.ec2}
route_tables:                       # default: a main one of each VPC; all have the local routes
  - id: rtb-0a000000000000001
    vpc: vpc-0a000000000000001
    main: true                      # or the subnets that have it
    routes: [{to: 0.0.0.0/0, by: nat-0a000000000000001}]    # also state: blackhole
subnets:
  - id: subnet-0a000000000000001
    vpc: vpc-0a000000000000001
    cidr: 10.0.1.0/24
    ipv6_cidr: 2001:db8:1::/64
    az: eu-central-1a
    tags: {Name: pods}
    owner: "999988887777"           # of the VPC, where another account shares it
instances:
  - id: i-0a000000000000001
    type: m5.xlarge                 # or any with ipv4_per_interface; also ipv6_per_interface, max_interfaces
    hop_limit: 2                    # 1 to 64, default 1, as EC2's
    http_tokens: required           # default; or optional
    http_endpoint: enabled          # default; or disabled
    host_addresses: [10.0.1.10]     # requests from here come without a network hop
    sources: [10.0.1.0/24]          # requests from here come from a pod of this instance
    role: node                      # IMDS gives out credentials of this role
    tags: {Name: node-a}
    interfaces:
      - id: eni-0a000000000000000
        mac: "02:aa:00:00:00:00"
        device: 0
        network_card: 0             # only for types with several
        subnet: subnet-0a000000000000001
        primary: 10.0.1.10
        secondaries: [10.0.1.11]
        ipv6s: ["2001:db8:1::11"]
        ipv4_prefixes: [10.0.1.32/28]
        ipv6_prefixes: ["2001:db8:1:0:1::/80"]
        description: the node's
        type: interface             # or trunk, branch, efa, efa-only, lambda, load_balancer, natGateway
        managed: false              # whether an AWS service has made it
        tags: {node.k8s.amazonaws.com/no_manage: "true"}
interfaces:                         # those that are attached nowhere
  - id: eni-0a000000000000001
    mac: "02:aa:00:00:00:01"
    subnet: subnet-0a000000000000001
    primary: 10.0.1.12
```

Optional keys may be left out. Identifiers have EC2's form. No two subnets may overlap, in whatever VPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import yaml

from tests.doubles.config.credentials import access_keys, role_keys
from tests.doubles.config.document import DocumentError, Node
from tests.doubles.config.fields import add, identifier, tags
from tests.doubles.config.instances import read_instances, read_unattached
from tests.doubles.config.settings import NAMES, with_settings
from tests.doubles.config.vpc import read_endpoints, read_groups, read_route_tables
from tests.doubles.state.identifiers import ALLOCATION, SUBNET, VPC
from tests.doubles.state.model import World
from tests.doubles.state.resources import ElasticIp, Subnet

MAX_FILE_BYTES = 4 << 20


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
        optional=(
            *NAMES,
            "access_keys",
            "roles",
            "interfaces",
            "security_groups",
            "elastic_ips",
            "vpc_endpoints",
            "route_tables",
        ),
    )
    account = keys["account"].text(r"\d{12}", "twelve digits in quotes")
    subnets = _subnets(keys["subnets"])
    instances, interfaces = read_instances(keys["instances"], subnets)
    if "interfaces" in keys:
        read_unattached(keys["interfaces"], interfaces, subnets)
    groups = read_groups(keys.get("security_groups"), subnets)
    region = keys["region"].text(r"[a-z]{2,}(-[a-z]+)+-\d", "a region such as eu-central-1")
    world = World(
        region=region,
        account=account,
        subnets=subnets,
        instances=instances,
        interfaces=interfaces,
        groups=groups,
        endpoints=read_endpoints(keys.get("vpc_endpoints"), subnets, groups),
        route_tables=read_route_tables(keys.get("route_tables"), subnets),
        elastic_ips=_elastic_ips(keys.get("elastic_ips"), region),
        access_keys=access_keys(keys.get("access_keys"), account),
        role_keys=role_keys(keys.get("roles"), account, instances.values(), keys["instances"]),
    )
    return with_settings(world, keys)


def _subnets(node: Node) -> dict[str, Subnet]:
    subnets: dict[str, Subnet] = {}
    for item in node.items():
        keys = item.mapping(required=("id", "vpc", "cidr", "az"), optional=("ipv6_cidr", "tags", "owner"))
        cidr = keys["cidr"].parse(IPv4Network, "an IPv4 network such as 10.0.1.0/24")
        # "Subnet sizing" in the VPC user guide.
        if not 16 <= cidr.prefixlen <= 28:
            keys["cidr"].refuse(f"must be a /16 to a /28, is {cidr}")
        if other := next((known for known in subnets.values() if known.cidr.overlaps(cidr)), None):
            keys["cidr"].refuse(f"{cidr} overlaps {other.id} ({other.cidr})")
        subnet = Subnet(
            id=identifier(keys["id"], SUBNET),
            vpc=identifier(keys["vpc"], VPC),
            cidr=cidr,
            az=keys["az"].text(r"[a-z0-9-]+[a-z]", "an availability zone such as eu-central-1a"),
            ipv6_cidr=_ipv6_cidr(keys["ipv6_cidr"], subnets) if "ipv6_cidr" in keys else None,
            tags=tags(keys),
            owner=keys["owner"].text(r"\d{12}", "twelve digits in quotes") if "owner" in keys else "",
        )
        if any(known.owner != subnet.owner for known in subnets.values() if known.vpc == subnet.vpc):
            item.refuse(f"another subnet of {subnet.vpc} has another owner")
        add(subnets, subnet, item)
    return subnets


def _elastic_ips(node: Node | None, region: str) -> dict[str, ElasticIp]:
    found: dict[str, ElasticIp] = {}
    for item in node.items() if node else []:
        keys = item.mapping(required=("id", "public_ip"), optional=("network_border_group", "tags"))
        public = keys["public_ip"].parse(IPv4Address, "an IPv4 address such as 198.51.100.1")
        if any(each.public_ip == public for each in found.values()):
            keys["public_ip"].refuse(f"{public} is there twice")
        group = keys["network_border_group"].text() if "network_border_group" in keys else region
        add(found, ElasticIp(identifier(keys["id"], ALLOCATION), public, group, tags(keys)), item)
    return found


def _ipv6_cidr(node: Node, subnets: Mapping[str, Subnet]) -> IPv6Network:
    cidr = node.parse(IPv6Network, "an IPv6 network such as 2001:db8::/64")
    # "Subnet sizing for IPv6" in the VPC user guide.
    if not 44 <= cidr.prefixlen <= 64 or cidr.prefixlen % 4:
        node.refuse(f"must be a /44 to a /64 in steps of four, is {cidr}")
    for known in subnets.values():
        if known.ipv6_cidr and known.ipv6_cidr.overlaps(cidr):
            node.refuse(f"{cidr} overlaps {known.id} ({known.ipv6_cidr})")
    return cidr
