"""EC2 as the commands read it: more of each ENI than the agent needs, and who holds an address."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from multus_eni.ipagent.addresses import IPAddress, canonical_mac, parse_address, sort_key
from multus_eni.ipagent.cloud.client import new_session
from multus_eni.ipagent.cloud.ec2 import HOLDER_FILTERS, MAX_DESCRIPTION, Ec2Client
from multus_eni.ipagent.commands.views import NO_MANAGE, EniDetails
from multus_eni.ipagent.log import printable

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef


class Reader(Ec2Client):
    """Ec2Client with more to read; every method raises Ec2Error only."""

    def by_id(self, eni_ids: Collection[str]) -> tuple[EniDetails, ...]:
        """Describe ENIs; those that EC2 does not know are left out."""
        # By filter: among explicit ids a single one that is gone would fail the whole call.
        return self._details([("network-interface-id", sorted(eni_ids))])

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        """Describe the ENIs with these MACs."""
        return self._details([("mac-address", sorted(macs))])

    def holding(self, addresses: Collection[IPAddress], vpc_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs of a VPC that hold any of these addresses, in whatever role."""
        found: dict[str, EniDetails] = {}
        for version, name in HOLDER_FILTERS.items():
            values = [str(a) for a in sorted(addresses, key=sort_key) if a.version == version]
            for eni in self._details([("vpc-id", [vpc_id]), (name, values)]) if values else ():
                found[eni.eni_id] = eni
        return tuple(found.values())

    def _details(self, filters: Sequence[tuple[str, Sequence[str]]]) -> tuple[EniDetails, ...]:
        return tuple(map(details, self._described(filters)))


def details(shown: NetworkInterfaceTypeDef) -> EniDetails:
    """Read one network interface of an answer."""
    attachment = shown.get("Attachment", {})
    tags = {tag.get("Key"): tag.get("Value") for tag in shown.get("TagSet", [])}
    ipv4 = [(e["PrivateIpAddress"], e.get("Primary", False)) for e in shown.get("PrivateIpAddresses", [])]
    ipv6 = [(e["Ipv6Address"], e.get("IsPrimaryIpv6", False)) for e in shown.get("Ipv6Addresses", [])]
    blocks = [entry["Ipv4Prefix"] for entry in shown.get("Ipv4Prefixes", [])]
    blocks += [entry["Ipv6Prefix"] for entry in shown.get("Ipv6Prefixes", [])]
    others = [parse_address(text) for text, primary in (*ipv4, *ipv6) if not primary]
    return EniDetails(
        eni_id=shown["NetworkInterfaceId"],
        primary=_primary(ipv4),
        secondaries=tuple(sorted(others, key=sort_key)),
        primary_ipv6=_primary(ipv6),
        instance_id=attachment.get("InstanceId", ""),
        device_number=attachment.get("DeviceIndex"),
        description=printable(shown.get("Description", ""))[:MAX_DESCRIPTION],
        managed=shown.get("RequesterManaged", False) or shown.get("Operator", {}).get("Managed", False),
        mac=canonical_mac(shown.get("MacAddress", "")),
        subnet_id=shown.get("SubnetId", ""),
        vpc_id=shown.get("VpcId", ""),
        no_manage=tags.get(NO_MANAGE) == "true",
        prefixes=tuple(map(ip_network, blocks)),
    )


def _primary(entries: Sequence[tuple[str, bool]]) -> IPAddress | None:
    return next((parse_address(text) for text, primary in entries if primary), None)


def profile_region(env: Mapping[str, str]) -> str:
    """Give the region of the AWS environment or profile, empty where there is none."""
    named = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return named or new_session().get_config_variable("region") or ""
