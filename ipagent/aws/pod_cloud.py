"""AWS as the agent in a pod uses it, with rights of its own: topology by IMDS or by MAC."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from common.contract import Credentials
from ipagent.assign.errors import Ec2Error, NoImds, error_of
from ipagent.assign.faults import Clock, Fault
from ipagent.assign.topology import Topology
from ipagent.aws.base import AwsAccess
from ipagent.aws.eni import as_eni
from ipagent.aws.imds import Imds, endpoint_of
from ipagent.log import Log


class PodCloud(AwsAccess):
    """The agent's own way to AWS."""

    def __init__(self, env: Mapping[str, str], credentials: Credentials, log: Log, timing: Clock) -> None:
        super().__init__(env, credentials, log, timing)
        self._topology: Topology | None = None
        self._looked_for: frozenset[str] = frozenset()

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
            found = [eni for eni in self._client().by_mac(macs) if eni.device_number is not None]
        except Ec2Error as error:
            failure = error.failure
            if failure.fault is Fault.NO_CREDENTIALS:
                raise NoImds(f"{reason}; and there are no credentials without it: {failure.text}") from None
            raise error_of(failure) from None
        if foreign := set(macs) - {eni.mac for eni in found}:
            listed = ", ".join(sorted(foreign))
            raise NoImds(f"{reason}; and EC2 knows no ENI with the MAC {listed}, so only IMDS could tell")
        self._log.warning("no-imds", message=f"{reason}; the ENI was found by its MAC instead")
        return Topology(tuple(map(as_eni, found)))
