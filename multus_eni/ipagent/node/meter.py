"""Counts the calls that go through it to AWS, and lets the window know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TypeVar

from multus_eni.ipagent.addresses import IPAddress
from multus_eni.ipagent.errors import Ec2Error
from multus_eni.ipagent.node.window import Window
from multus_eni.ipagent.plan import Assign, Unassign
from multus_eni.ipagent.reconcile import Cloud
from multus_eni.ipagent.retry import Fault, Timing
from multus_eni.ipagent.topology import Eni, EniAddresses, Topology

OK = "ok"

Answer = TypeVar("Answer")


class Meter:
    """A cloud with a meter. `calls` counts EC2's by action and result: OK, or the fault in small letters."""

    def __init__(self, cloud: Cloud, window: Window, timing: Timing) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._cloud = cloud
        self._window = window
        self._timing = timing

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """As the cloud's; not counted, since it mostly asks nobody."""
        return self._cloud.topology(macs, fresh=fresh)

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        """As the cloud's; IMDS is not counted."""
        return self._cloud.metadata(eni, versions)

    def describe(self, eni_id: str) -> EniAddresses:
        """As the cloud's."""
        return self._counted("DescribeNetworkInterfaces", lambda: self._cloud.describe(eni_id))

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniAddresses, ...]:
        """As the cloud's."""
        return self._counted("DescribeNetworkInterfaces", lambda: self._cloud.holders(addresses, subnet_id))

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """As the cloud's."""
        version = call.addresses[0].version
        action = "AssignPrivateIpAddresses" if version == 4 else "AssignIpv6Addresses"
        throttled = False
        try:
            return self._counted(action, lambda: self._cloud.assign(call))
        except Ec2Error as error:
            throttled = error.failure.fault is Fault.THROTTLED
            raise
        finally:
            self._window.called(version, self._timing.clock(), throttled=throttled)

    def unassign(self, call: Unassign) -> None:
        """As the cloud's."""
        version = call.addresses[0].version
        action = "UnassignPrivateIpAddresses" if version == 4 else "UnassignIpv6Addresses"
        self._counted(action, lambda: self._cloud.unassign(call))

    def _counted(self, action: str, call: Callable[[], Answer]) -> Answer:
        result = OK
        try:
            return call()
        except Ec2Error as error:
            result = error.failure.fault.name.lower()
            raise
        finally:
            self.calls[action, result] += 1
