"""ENIs as EC2 and as IMDS show them, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ipagent.assign.holders import owner_of
from ipagent.assign.selection import IPAddress, sort_key
from ipagent.assign.topology import Eni, EniDetails


@dataclass(frozen=True)
class EniView:
    """An ENI of this node. `imds` and `ec2` are None where that side was not to be had.

    `interfaces` are the pod's interfaces with its MAC.
    """

    eni: Eni
    interfaces: tuple[str, ...]
    imds: frozenset[IPAddress] | None
    ec2: EniDetails | None

    @property
    def usable(self) -> bool:
        """Whether the agent may give it addresses, as far as IMDS and EC2 tell."""
        return self.eni.usable and not (self.ec2 and owner_of(self.ec2))

    @property
    def only_in_imds(self) -> tuple[IPAddress, ...]:
        """What IMDS shows and EC2 does not: IMDS lags behind, or the address has just been taken away."""
        return _difference(self.imds, self._in_ec2)

    @property
    def only_in_ec2(self) -> tuple[IPAddress, ...]:
        """What EC2 shows and IMDS does not yet."""
        return _difference(self._in_ec2, self.imds)

    @property
    def _in_ec2(self) -> tuple[IPAddress, ...] | None:
        return self.ec2.addresses if self.ec2 else None


def _difference(one: Iterable[IPAddress] | None, other: Iterable[IPAddress] | None) -> tuple[IPAddress, ...]:
    if one is None or other is None:
        return ()
    return tuple(sorted(set(one) - set(other), key=sort_key))
