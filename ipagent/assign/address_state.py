"""State of the assignment of one address: its phase, and the failure that stops it."""

from __future__ import annotations

from enum import Enum, auto

from common.frozen_dataclass import dataclass
from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.placement import Placement


class Phase(Enum):
    """How far an address is."""

    WANTED = auto()
    """No call has succeeded yet."""
    ACCEPTED = auto()
    """EC2 says that it assigned it; IMDS or a describe confirms it."""
    DOUBTFUL = auto()
    """EC2 took the call, but its answer does not name the address: only a describe confirms it."""
    DISPUTED = auto()
    """EC2 refused it, which it may also do where the ENI has it already: a describe decides."""
    CONFIRMED = auto()
    REFUSED = auto()
    """Not assigned, and no further try is made."""
    TAKEN = auto()
    """It was confirmed; another ENI has it since, and is left in peace."""

    # Enum's own is Python code, and phases are looked up by the thousand.
    __hash__ = object.__hash__


Batch = tuple[str, int, bool]
"""What goes in one call: an ENI's id, an address family (4 or 6), and whether other ENIs may lose it."""

SETTLED = frozenset({Phase.CONFIRMED, Phase.REFUSED, Phase.TAKEN})
UNCONFIRMED = frozenset({Phase.ACCEPTED, Phase.DOUBTFUL, Phase.DISPUTED})
NOT_OURS = frozenset({Phase.REFUSED, Phase.TAKEN})
"""There is nothing to release: EC2 has not assigned it to us, or it has another ENI since."""


@dataclass(frozen=True)
class PlannedAddress:
    """One address on its way; `failure` is the last one, `since` the time at which its phase began.

    `found`: it was on its ENI before any call was made for it. `prefix` is the prefix of its ENI that
    contains it: it is routed there as it is, and there is nothing to assign or to release.
    """

    placement: Placement
    phase: Phase = Phase.WANTED
    failure: Failure | None = None
    since: float = 0.0
    found: bool = False
    prefix: IPNetwork | None = None

    @property
    def address(self) -> IPAddress:
        """The address in question."""
        return self.placement.holding.address

    @property
    def eni_id(self) -> str:
        """The ENI that is to carry it."""
        return self.placement.eni.id

    @property
    def takeover(self) -> bool:
        """Whether it may be taken from another ENI."""
        return self.placement.takeover

    @property
    def batch(self) -> Batch:
        """What it shares a call with."""
        return self.eni_id, self.address.version, self.takeover

    @property
    def contested(self) -> bool:
        """Whether it is to be looked up who holds the address: that may be why EC2 refused it."""
        return self.phase is Phase.DISPUTED and self.failure is not None and self.failure.fault in _CONTESTED

    @property
    def denied(self) -> bool:
        """Whether EC2 has refused the address because another ENI has it, and a look is to tell which."""
        return self.contested and self.failure is not None and self.failure.fault is Fault.HELD_ELSEWHERE

    @property
    def conflict(self) -> bool:
        """Whether another ENI has the address."""
        held = self.failure is not None and self.failure.fault is Fault.HELD_ELSEWHERE
        return self.phase is Phase.TAKEN or (self.phase is Phase.REFUSED and held)

    @property
    def watched(self) -> bool:
        """Whether others may change it later, without a call of ours."""
        return self.phase is Phase.CONFIRMED or self.conflict


_CONTESTED = frozenset({Fault.HELD_ELSEWHERE, Fault.REFUSED})
