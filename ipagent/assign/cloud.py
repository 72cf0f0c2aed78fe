"""The engine's interface to AWS: a few calls to EC2, and the node's ENIs."""

from __future__ import annotations

from collections.abc import Collection

from common.lean_typing import Protocol
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.topology import Eni, EniDetails, Topology


class Ec2(Protocol):
    """What is asked of EC2, for addresses of one family at a time.

    All raise Ec2Error; those that change something have then done nothing, or all.
    """

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign, and give the addresses that the answer lists; IPv6 ones are never reassigned."""

    def unassign(self, call: Unassign) -> None:
        """Unassign."""

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs that hold any of these addresses; `subnet_id` may be empty for all subnets.

        An address of a delegated prefix is not found: see `prefix_holders`.
        """

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """List the subnet's ENIs; returns those that hold any of these addresses, also in a prefix."""


class Cloud(Ec2, Protocol):
    """What the agent needs of AWS."""

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Return the node's ENIs, at least those with these MACs, if there are such; raises AgentError.

        `fresh` asks for all of them again; otherwise an earlier answer may serve.
        """

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        """Return the addresses of these families that IMDS shows on the ENI; None if it does not answer."""

    def describe(self, eni_id: str) -> EniDetails:
        """Return what EC2 says that the ENI holds; raises Ec2Error."""
