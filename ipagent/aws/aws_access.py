"""Access to AWS, the base of `PodCloud` and `NodeCloud`: one identity, one region, addresses by EC2 and IMDS.

botocore is imported with the first call that needs it: an agent without addresses never pays for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from common.agent_settings import Credentials
from common.frozen_dataclass import replace
from common.lean_typing import Protocol
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.ec2_error_codes import RETRIED
from ipagent.assign.errors import Ec2Error, NoImds, SilentImds
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni, EniDetails
from ipagent.aws.imds import Imds
from ipagent.aws.imds_http import endpoint_of
from ipagent.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from ipagent.aws.ec2_client import Connection

SILENT_SECONDS = 30.0
"""For how long IMDS is left alone when it has not answered: finding that out takes seconds."""

RANGES_SECONDS = 300.0
"""For how long the ranges of subnets are taken for known: one of IPv6 may be associated at any time."""

Cidrs = Mapping[str, tuple[IPNetwork, ...]]
"""A subnet's id -> its ranges."""


class Ec2Api(Protocol):
    """The calls of EC2 that agents make, as `ec2_client.Ec2Client` has them; all raise Ec2Error."""

    calls: Counter[tuple[str, str]]

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign addresses of one family; returns those that the answer lists."""

    def unassign(self, call: Unassign) -> None:
        """Unassign addresses of one family."""

    def describe(self, eni_id: str) -> EniDetails:
        """Describe one ENI."""

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        """Describe the ENIs with these MACs."""

    def attached(self, instance_id: str) -> tuple[EniDetails, ...]:
        """Describe the ENIs of an instance."""

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs that hold any of the addresses as their own."""

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs that hold any of the addresses, also in a prefix."""

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        """Return the ranges of subnets, as far as they are known."""

    def close(self) -> None:
        """Close the connections."""


class AwsAccess:
    """Calls in our terms, with connections that are made when they are needed.

    `env` gives region and endpoints as the AWS SDKs define them.
    """

    def __init__(self, env: Mapping[str, str], credentials: Credentials, log: Log, timing: Timing) -> None:
        self._env = env
        self._credentials = credentials
        self._log = log
        self._timing = timing
        self._region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
        self._made: Imds | None = None
        # The same, once it has shown the ENIs.
        self._imds: Imds | None = None
        self._ec2: Ec2Api | None = None
        self._silent_until = 0.0
        self._ranges_at = 0.0
        self._warned = False

    @property
    def calls(self) -> Mapping[tuple[str, str], int]:
        """How many calls EC2 had, by action and result: `ok`, or the fault in small letters."""
        return {} if self._ec2 is None else dict(self._ec2.calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            self._made.close()
        if self._ec2 is not None:
            self._ec2.close()

    def metadata(self, eni: Eni, versions: Collection[int] = (4, 6)) -> frozenset[IPAddress] | None:
        """Return the addresses of these families that IMDS shows on the ENI; None if it does not answer."""
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

    def describe(self, eni_id: str) -> EniDetails:
        """Return what EC2 says that the ENI holds; raises Ec2Error."""
        return self._located(self._client().describe(eni_id))

    def _located(self, held: EniDetails) -> EniDetails:
        """Complete it by whether something else has it: what a service or another account has lacks an id."""
        own = self._own_instance()
        attached = held.device_number is not None
        return replace(held, elsewhere=bool(own) and attached and held.instance_id != own)

    def _own_instance(self) -> str:
        """Return the id of the instance that the agent runs on; empty if it is not known."""
        return ""

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs that hold any of these addresses of one family; raises Ec2Error."""
        return self._client().holders(addresses, subnet_id)

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """List the subnet's ENIs; returns those that hold any of these addresses; raises Ec2Error."""
        return self._client().prefix_holders(addresses, subnet_id)

    def _ranges_by_ec2(self, subnet_ids: Collection[str]) -> Cidrs:
        """Ask EC2 for the ranges of subnets; returns none where it can't be asked.

        Without the right to ask it is asked again after SILENT_SECONDS: somebody may grant it.
        """
        if self._timing.clock() < self._ranges_at:
            return {}
        try:
            return self._client().subnet_cidrs(subnet_ids)
        except Ec2Error as error:
            if error.failure.fault not in RETRIED:
                self._ranges_at = self._timing.clock() + SILENT_SECONDS
            listed = ", ".join(sorted(subnet_ids))
            text = f"The ranges of {listed} are not known, so only a MAC names an ENI: {error.failure.text}"
            level = self._log.debug if self._warned else self._log.warning
            level("no-ranges", message=text)
            self._warned = True
            return {}

    def _service(self) -> Imds:
        """Return the client of IMDS, always the same: it knows whether IMDS has ever answered.

        Raises NoImds.
        """
        if self._made is None:
            self._made = Imds(endpoint_of(self._env), self._timing)
        return self._made

    def _role_status(self) -> str:
        """Return what IMDS says of the credentials of the node's role; raises NoImds."""
        return self._answering().role_status()

    def _answering(self) -> Imds:
        """Return the client of IMDS where that has answered or was not asked yet; raises NoImds."""
        imds = self._service()
        if imds.silent:
            # It takes seconds each time.
            raise SilentImds("IMDS has not answered")
        return imds

    def _client(self) -> Ec2Api:
        """Return the client, which is made for the first call; raises Ec2Error."""
        if self._ec2 is None:
            self._ec2 = self._connect()
        return self._ec2

    def _connect(self) -> Ec2Api:
        """Return a client in `_region` and with `_credentials`; raises Ec2Error."""
        from ipagent.aws.ec2_client import Ec2Client  # noqa: PLC0415 - an agent without addresses needs none

        made = Ec2Client(self._connection())
        what = f"Calling EC2 in {self._region} with the credentials of {made.identity}"
        self._log.info("identity", message=what)
        return made

    def _connection(self) -> Connection:
        """Return a connection in `_region` with `_credentials`; raises Ec2Error."""
        from ipagent.aws.botocore_connection import BotocoreConnection  # noqa: PLC0415 - most of the start-up

        return BotocoreConnection(self._region, self._credentials, self._role_status)
