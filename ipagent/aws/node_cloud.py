"""AWS as a node agent uses it: every ENI of one instance, with tags and addresses, by one call.

EC2 says which ENIs there are and which of them are ours; IMDS, which may lag behind, names region and
instance and the ranges of subnets. Each read asks EC2: node/reconcile/eni_cache.py keeps the answer and
bounds how often it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from common.agent_settings import ENV_PREFIX, Credentials
from ipagent.assign.addresses import IPNetwork
from ipagent.assign.errors import Ec2Error, NoEni, NoImds, error_of
from ipagent.assign.holders import why_not_ours
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Attached, Eni, EniDetails, Observed, Topology, Unread
from ipagent.aws.aws_access import SILENT_SECONDS, AwsAccess
from ipagent.aws.describe_enis import as_eni
from ipagent.aws.imds import Imds
from ipagent.log import Log

ENV_INSTANCE_ID = ENV_PREFIX + "INSTANCE_ID"


class NodeCloud(AwsAccess):
    """The node agent's way to AWS. Without `require_tag` ENIs need no tag to count as ours."""

    def __init__(
        self,
        env: Mapping[str, str],
        credentials: Credentials,
        log: Log,
        timing: Timing,
        *,
        require_tag: bool = True,
    ) -> None:
        super().__init__(env, credentials, log, timing)
        self.instance_id = env.get(ENV_INSTANCE_ID, "")
        self._require_tag = require_tag
        self._enis: tuple[EniDetails, ...] = ()
        self._cidrs: dict[str, tuple[IPNetwork, ...]] = {}
        self._cidrs_at = 0.0
        self._reread_at = 0.0
        self._ranges_in_imds = False

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Ask EC2 for all ENIs of the node, whichever MACs are of interest; raises AgentError."""
        del macs, fresh
        found = self.observed()
        return replace(found.topology, held=tuple(each.held for each in found.attached))

    def observed(self) -> Observed:
        """Ask EC2 now what each ENI of the node holds; raises AgentError where none can be read."""
        found = self._describe_all()
        self._enis = tuple(sorted(found, key=lambda eni: (eni.device_number or 0, eni.eni_id)))
        self._learn_ranges()
        attached = tuple(
            Attached(as_eni(eni, self._cidrs.get(eni.subnet_id, ()), self._barred(eni)), eni)
            for eni in self._enis
        )
        return Observed(attached, self._unread())

    def delegated(self, macs: Collection[str]) -> Mapping[str, Eni]:
        """Ask IMDS for the ENIs with these MACs and their prefixes; returns none while it is silent."""
        return {
            eni.mac: eni
            for eni in self._by_imds(lambda imds: imds.topology_as_shown(macs))
            if eni.mac in macs
        }

    def _by_imds(self, read: Callable[[Imds], Topology]) -> tuple[Eni, ...]:
        """Read ENIs by IMDS; returns none while it is silent."""
        if self._timing.clock() < self._silent_until:
            return ()
        try:
            return read(self._service()).enis
        except NoImds as error:
            self._log.debug("imds-failed", message=str(error))
            self._silent_until = self._timing.clock() + SILENT_SECONDS
            return ()

    def _unread(self) -> tuple[Unread, ...]:
        """Return the ENIs of the node that the last look has not shown: one call shows all."""
        return ()

    def _own_instance(self) -> str:
        return self.instance_id

    def _describe_all(self) -> tuple[EniDetails, ...]:
        self._identify()
        try:
            found = self._client().attached(self.instance_id)
        except Ec2Error as error:
            raise error_of(error.failure) from None
        if not found:
            raise NoEni(
                f"EC2 shows no ENI of the instance {self.instance_id} in {self._region}",
                f"Give the agent AWS_REGION and {ENV_INSTANCE_ID} of its node, or neither.",
            )
        return found

    def _barred(self, eni: EniDetails) -> str:
        # EC2 lists it among the instance's until the detach is over.
        return "is being detached" if eni.detaching else why_not_ours(eni, require_tag=self._require_tag)

    def _identify(self) -> None:
        """Find out who the node is; raises NoImds where neither IMDS nor the environment tells."""
        if self._region and self.instance_id:
            return
        imds = self._service()
        self._region = self._region or imds.region()
        self.instance_id = self.instance_id or imds.instance_id()

    def _service(self) -> Imds:
        self._imds = super()._service()
        return self._imds

    def _learn_ranges(self) -> None:
        """Find the ranges of subnets that are not known yet; without them a MAC must name the ENI.

        Those that IMDS has shown are read again: a subnet may get a range of IPv6, or another one, while
        nodes run, and IMDS may show it later than the IPv4 range.
        """
        now = self._timing.clock()
        missing = not all(map(self._has_ranges, self._enis))
        again = self._ranges_in_imds and now >= self._reread_at
        if not again and (not missing or now < self._cidrs_at):
            return
        self._reread_at = now + SILENT_SECONDS
        if missing:
            self._cidrs_at = now + SILENT_SECONDS
        # One ENI of each subnet.
        macs = set({eni.subnet_id: eni.mac for eni in self._enis}.values())
        shown = self._by_imds(lambda imds: imds.topology(macs))
        found = {eni.subnet_id: eni.subnet_cidrs for eni in shown if eni.subnet_cidrs}
        # It stays true while IMDS is silent: the ranges are read again afterwards.
        self._ranges_in_imds |= bool(found)
        for subnet, ranges in found.items():
            self._cidrs[subnet] = _completed(ranges, self._cidrs.get(subnet, ()))
        if unknown := {eni.subnet_id for eni in self._enis if not self._has_ranges(eni)}:
            self._cidrs.update(self._ranges_by_ec2(unknown))

    def _has_ranges(self, eni: EniDetails) -> bool:
        """Return whether the ranges of its subnet are known, in each family of which it holds addresses."""
        families = {each.version for each in self._cidrs.get(eni.subnet_id, ())}
        return bool(families) and families.issuperset(
            each.version for each in (*eni.secondaries, *eni.prefixes)
        )


def _completed(shown: tuple[IPNetwork, ...], known: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...]:
    """Return the ranges that IMDS shows; of a family of which it shows none, those that are known."""
    families = {each.version for each in shown}
    return (*shown, *(each for each in known if each.version not in families))
