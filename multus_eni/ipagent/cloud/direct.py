"""AWS as an agent with rights of its own uses it: topology by IMDS or by MAC, addresses by EC2.

botocore is imported with the first call that needs it: an agent without addresses never pays for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from multus_eni.contract import Credentials
from multus_eni.ipagent.addresses import IPAddress
from multus_eni.ipagent.cloud.imds import Imds, endpoint_of
from multus_eni.ipagent.errors import Ec2Error, NoImds, error_of
from multus_eni.ipagent.log import Log
from multus_eni.ipagent.plan import Assign, Unassign
from multus_eni.ipagent.retry import Fault, Timing
from multus_eni.ipagent.topology import Eni, EniAddresses, Topology

if TYPE_CHECKING:
    from multus_eni.ipagent.cloud.ec2 import Ec2Client

SILENT_SECONDS = 30.0
"""For how long IMDS is left alone when it has not answered: finding that out takes seconds."""


class Direct:
    """The agent's own way to AWS. `env` gives region and endpoints as the AWS SDKs define them."""

    def __init__(self, env: Mapping[str, str], credentials: Credentials, log: Log, timing: Timing) -> None:
        self._env = env
        self._credentials = credentials
        self._log = log
        self._timing = timing
        self._imds: Imds | None = None
        self._ec2: Ec2Client | None = None
        self._region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
        self._topology: Topology | None = None
        self._looked_for: frozenset[str] = frozenset()
        self._silent_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        if self._imds is not None:
            self._imds.close()
        if self._ec2 is not None:
            self._ec2.close()

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Give the node's ENIs by IMDS, or without it those that carry the pod's MACs; raises AgentError.

        What was read once serves again, unless a MAC was never looked for or `fresh` is asked for.
        """
        known = self._topology
        if known is not None and not fresh and self._looked_for.issuperset(macs):
            return known
        try:
            imds = self._imds or Imds(endpoint_of(self._env), self._timing)
            read = imds.topology(None if fresh else macs)
            self._region = self._region or imds.region()
            self._imds = imds
        except NoImds as error:
            read = self._without_imds(macs, error)
        self._topology = read
        self._looked_for = frozenset((*macs, *(eni.mac for eni in read.enis)))
        return read

    def _without_imds(self, macs: Collection[str], reason: NoImds) -> Topology:
        """Find the ENIs by MAC: that needs a region, an identity, and no foreign MAC."""
        if not self._region or not macs or self._credentials is Credentials.NODE:
            raise reason
        try:
            found = self._client().enis(macs)
        except Ec2Error as error:
            failure = error.failure
            if failure.fault is Fault.NO_CREDENTIALS:
                raise NoImds(f"{reason}; and there are no credentials without it: {failure.text}") from None
            raise error_of(failure) from None
        if foreign := set(macs) - {eni.mac for eni in found}:
            listed = ", ".join(sorted(foreign))
            raise NoImds(f"{reason}; and EC2 knows no ENI with the MAC {listed}, so only IMDS could tell")
        self._log.warning("no-imds", message=f"{reason}; the ENI was found by its MAC instead")
        return Topology(found)

    def metadata(self, eni: Eni, versions: Collection[int] = (4, 6)) -> frozenset[IPAddress] | None:
        """Give the addresses of these families that IMDS shows on the ENI; None where it does not answer."""
        if self._imds is None or self._timing.clock() < self._silent_until:
            return None
        try:
            return self._imds.addresses(eni.mac, versions)
        except NoImds as error:
            self._log.debug("imds-failed", message=str(error), eni=eni.id)
            self._silent_until = self._timing.clock() + SILENT_SECONDS
            return None

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign addresses; raises Ec2Error."""
        return self._client().assign(call)

    def unassign(self, call: Unassign) -> None:
        """Unassign addresses; raises Ec2Error."""
        self._client().unassign(call)

    def describe(self, eni_id: str) -> EniAddresses:
        """Give what EC2 says that the ENI holds; raises Ec2Error."""
        return self._client().describe(eni_id)

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniAddresses, ...]:
        """Find the ENIs that hold any of these addresses of one family; raises Ec2Error."""
        return self._client().holders(addresses, subnet_id)

    def _client(self) -> Ec2Client:
        if self._ec2 is None:
            from multus_eni.ipagent.cloud.ec2 import Ec2Client  # noqa: PLC0415 - costs most of the start-up

            self._ec2 = Ec2Client(self._region, self._credentials)
            what = f"Calling EC2 in {self._region} with the credentials of {self._ec2.identity}"
            self._log.info("identity", message=what)
        return self._ec2
