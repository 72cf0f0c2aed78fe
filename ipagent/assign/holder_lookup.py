"""Lookup of the ENIs that hold addresses, with as few calls as can be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ipagent.assign.address_state import PlannedAddress
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.topology import Eni, EniDetails


class HolderLookup:
    """Finds the ENIs that hold addresses, and remembers for which of them a whole subnet was listed."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        # Refused addresses for which all ENIs of the subnet were listed.
        self._listed: set[tuple[str, IPAddress]] = set()

    def prune(self, wanted: Collection[tuple[str, IPAddress]]) -> None:
        """Forget what was listed for other addresses: should they be refused again, list once more."""
        self._listed &= set(wanted)

    def find(self, eni: Eni, items: Sequence[PlannedAddress]) -> tuple[EniDetails, ...]:
        """Return the ENIs that hold addresses of one ENI and family, as their own or in a prefix.

        No filter of EC2's finds the ENI of a prefix by an address in it. The one that should have it is
        described; all ENIs of the subnet are listed only where EC2 has refused an address for which no holder
        is found, and once for each address. Raises Ec2Error.
        """
        found: tuple[EniDetails, ...] = ()
        if any(item.prefix for item in items):
            found = self._described_if_known(eni.id)
        if unheld := _unheld(items, found):
            found += self._cloud.holders([item.address for item in unheld], eni.subnet_id)
        refused = [
            i for i in _unheld(items, found) if i.contested and (eni.id, i.address) not in self._listed
        ]
        if refused:
            self._listed.update((eni.id, item.address) for item in refused)
            found += self._cloud.prefix_holders([item.address for item in refused], eni.subnet_id)
        return found

    def _described_if_known(self, eni_id: str) -> tuple[EniDetails, ...]:
        try:
            return (self._cloud.describe(eni_id),)
        except Ec2Error as error:
            if error.failure.fault is Fault.NO_ENI:
                return ()
            raise


def _unheld(items: Iterable[PlannedAddress], enis: Collection[EniDetails]) -> list[PlannedAddress]:
    return [item for item in items if not any(eni.holds(item.address) for eni in enis)]
