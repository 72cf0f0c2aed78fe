"""AWS as the agent of a node uses it: every ENI of one instance, with tags and addresses, by one call.

EC2 says which ENIs there are and which of them are ours; IMDS, which may lag behind, names region and
instance and the ranges of subnets, which don't change. The answer is kept, and asked for again where it
can't be all: a MAC that it lacks, an address that fits no ENI (`fresh`), or its age.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from common.contract import ENV_PREFIX, Credentials
from ipagent.assign.errors import AgentError, Ec2Error, NoEni, NoImds, error_of
from ipagent.assign.faults import Clock, Failure, Fault, remaining
from ipagent.assign.holders import why_not_ours
from ipagent.assign.selection import IPNetwork
from ipagent.assign.topology import Attached, EniDetails, Topology
from ipagent.aws.base import SILENT_SECONDS, AwsAccess
from ipagent.aws.eni import as_eni
from ipagent.aws.imds import Imds, endpoint_of
from ipagent.log import Log

ENV_INSTANCE_ID = ENV_PREFIX + "INSTANCE_ID"

MAX_AGE = 900.0
"""Seconds for which a topology serves: ENIs and tags are changed by hand, and EC2 tells nobody."""
BURST = 5
REFILL_SECONDS = 10.0
"""How often the topology is looked for: 5 times at once, then once in 10 s. Nodes share the request limit."""
FOREIGN_SECONDS = 300.0
"""For how long a MAC that no ENI has is not looked for again: a macvlan interface has one of its own."""
MAX_FOREIGN = 1024

Cidrs = dict[str, tuple[IPNetwork, ...]]
"""A subnet's id -> its ranges."""


class NodeCloud(AwsAccess):
    """The node agent's way to AWS. Without `require_tag` ENIs need no tag to count as ours."""

    def __init__(
        self,
        env: Mapping[str, str],
        credentials: Credentials,
        log: Log,
        timing: Clock,
        *,
        require_tag: bool = True,
    ) -> None:
        super().__init__(env, credentials, log, timing)
        self.instance_id = env.get(ENV_INSTANCE_ID, "")
        self._require_tag = require_tag
        self._enis: tuple[EniDetails, ...] = ()
        self._read_at: float | None = None
        self._failed: AgentError | None = None
        self._foreign: dict[str, float] = {}
        self._allowance = TokenBucket(BURST, REFILL_SECONDS)
        self._cidrs: Cidrs = {}
        self._cidrs_at = 0.0
        self._warned = False

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Give all ENIs of the node; raises AgentError.

        What was read serves again, unless it lacks one of the MACs, is old, or `fresh` is asked for. Where it
        was looked for too often, the error is a passing one if a MAC is unknown; else what is known serves.
        """
        now = self._timing.clock()
        looked = False
        if fresh or not self._knows(macs, now):
            wait = self._allowance.take(now)
            if not wait:
                self._look(macs)
                looked = True
            elif self._read_at is None or not self._has(macs, now):
                raise self._put_off(wait)
        self._learn_ranges()
        attached = self._attached()
        held = tuple(each.held for each in attached) if looked else ()
        return Topology(tuple(each.eni for each in attached), held)

    def _put_off(self, seconds: float) -> AgentError:
        """Say why there is no topology: as the last look has ended, or because there were too many."""
        if self._failed is not None:
            return self._failed.with_traceback(None)
        text = f"The node's ENIs were looked for too often; the next time is in {seconds:.0f} s"
        return error_of(Failure(Fault.THROTTLED, text))

    def observed(self) -> tuple[Attached, ...]:
        """Ask EC2 now what each ENI of the node holds; raises AgentError."""
        self._look(())
        self._learn_ranges()
        return self._attached()

    def _knows(self, macs: Collection[str], now: float) -> bool:
        return self._read_at is not None and now < self._read_at + MAX_AGE and self._has(macs, now)

    def _has(self, macs: Collection[str], now: float) -> bool:
        mine = {eni.mac for eni in self._enis}
        return all(not mac or mac in mine or now < self._foreign.get(mac, now) for mac in macs)

    def _look(self, macs: Iterable[str]) -> None:
        """Describe the instance's ENIs, and remember which of these MACs none of them has."""
        try:
            found = self._describe_all()
        except AgentError as error:
            self._failed = error
            raise
        self._failed = None
        self._enis = tuple(sorted(found, key=lambda eni: (eni.device_number or 0, eni.eni_id)))
        self._read_at = now = self._timing.clock()
        lasting = {mac: until for mac, until in self._foreign.items() if now < until}
        asked = dict.fromkeys(macs, now + FOREIGN_SECONDS)
        self._foreign = dict(list({**lasting, **asked}.items())[-MAX_FOREIGN:])

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

    def _attached(self) -> tuple[Attached, ...]:
        return tuple(
            Attached(as_eni(eni, self._cidrs.get(eni.subnet_id, ()), self._barred(eni)), eni)
            for eni in self._enis
        )

    def _barred(self, eni: EniDetails) -> str:
        return why_not_ours(eni, require_tag=self._require_tag)

    def _identify(self) -> None:
        """Find out who the node is; raises NoImds where neither IMDS nor the environment tells."""
        if self._region and self.instance_id:
            return
        imds = self._service()
        self._region = self._region or imds.region()
        self.instance_id = self.instance_id or imds.instance_id()

    def _service(self) -> Imds:
        if self._imds is None:
            self._imds = Imds(endpoint_of(self._env), self._timing)
        return self._imds

    def _learn_ranges(self) -> None:
        """Find the ranges of subnets that are not known yet; without them a MAC must name the ENI."""
        now = self._timing.clock()
        missing = {eni.subnet_id: eni.mac for eni in self._enis if eni.subnet_id not in self._cidrs}
        if not missing or now < self._cidrs_at:
            return
        self._cidrs_at = now + SILENT_SECONDS
        self._cidrs.update(self._ranges_by_imds(missing))
        unknown = missing.keys() - self._cidrs.keys()
        if unknown:
            self._cidrs.update(self._ranges_by_ec2(unknown))

    def _ranges_by_imds(self, macs: Mapping[str, str]) -> Cidrs:
        if self._timing.clock() < self._silent_until:
            return {}
        try:
            enis = self._service().topology(set(macs.values())).enis
        except NoImds as error:
            self._log.debug("imds-failed", message=str(error))
            self._silent_until = self._timing.clock() + SILENT_SECONDS
            return {}
        return {eni.subnet_id: eni.subnet_cidrs for eni in enis if eni.subnet_cidrs}

    def _ranges_by_ec2(self, subnet_ids: Collection[str]) -> Cidrs:
        try:
            return self._client().subnet_cidrs(subnet_ids)
        except Ec2Error as error:
            listed = ", ".join(sorted(subnet_ids))
            text = f"The ranges of {listed} are not known, so only a MAC names an ENI: {error.failure.text}"
            level = self._log.debug if self._warned else self._log.warning
            level("no-ranges", message=text)
            self._warned = True
            return {}


class TokenBucket:
    """A token bucket: so many at once, one more after each so many seconds."""

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take one; gives 0.0, or the seconds until there is one."""
        full_at = max(self._full_at, now) + self._seconds
        wait = remaining(full_at - self._burst * self._seconds, now)
        if not wait:
            self._full_at = full_at
        return wait
