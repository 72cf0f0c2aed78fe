"""EC2 as the commands read it: more of each ENI than the agent needs, and who holds an address."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ipagent.assign.selection import IPAddress, sort_key
from ipagent.aws.botocore_session import new_session
from ipagent.aws.ec2 import HOLDER_FILTERS, Ec2Client
from ipagent.aws.eni import EniDetails, details


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


def profile_region(env: Mapping[str, str]) -> str:
    """Give the region of the AWS environment or profile, empty where there is none."""
    named = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return named or new_session().get_config_variable("region") or ""
