"""Lets the window know of the calls that go through it to AWS."""

from __future__ import annotations

from collections.abc import Collection

from ipagent.assign.calls import Assign, Unassign
from ipagent.assign.errors import Ec2Error
from ipagent.assign.faults import Clock, Fault
from ipagent.assign.reconciler import Cloud
from ipagent.assign.selection import IPAddress
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.node.reconcile.batcher import BatchWindow


class CallObserver:
    """A cloud whose calls to assign are noticed, and whether they were throttled; all else goes through."""

    def __init__(self, cloud: Cloud, window: BatchWindow, timing: Clock) -> None:
        self._cloud = cloud
        self._window = window
        self._timing = timing

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """As the cloud's."""
        return self._cloud.topology(macs, fresh=fresh)

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        """As the cloud's."""
        return self._cloud.metadata(eni, versions)

    def describe(self, eni_id: str) -> EniDetails:
        """As the cloud's."""
        return self._cloud.describe(eni_id)

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """As the cloud's."""
        return self._cloud.holders(addresses, subnet_id)

    def unassign(self, call: Unassign) -> None:
        """As the cloud's."""
        self._cloud.unassign(call)

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """As the cloud's."""
        throttled = False
        try:
            return self._cloud.assign(call)
        except Ec2Error as error:
            throttled = error.failure.fault is Fault.THROTTLED
            raise
        finally:
            version = call.addresses[0].version
            self._window.called(version, self._timing.clock(), throttled=throttled)
