"""What every command works with: settings, the pod's interfaces, the node's ENIs, EC2.

What can't be had is kept as an error beside the answer: one side that is silent must not hide the other.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import BotoCoreError

from common.agent_settings import (
    ENV_ALLOWED_CIDRS,
    ENV_NODE_NAME,
    ENV_POD_NAME,
    ENV_POD_NAMESPACE,
    AgentSettings,
    LogFormat,
    LogLevel,
)
from common.exit_codes import ExitCode
from ipagent.assign.addresses import IPAddress, IPNetwork, Snapshot, parse_networks
from ipagent.assign.errors import AgentError, BadUsage, Ec2Error, NoImds, error_of
from ipagent.assign.retry import Timing, backoff_for
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.botocore_session import profile_region
from ipagent.aws.ec2_client import Ec2Client
from ipagent.aws.imds import Imds
from ipagent.aws.imds_http import endpoint_of
from ipagent.aws.pod_cloud import PodCloud
from ipagent.log import Log
from ipagent.netlink.namespace import Netlink

TRIES = 3
"""How often a call is made that EC2 throttles or does not answer."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class NodeEnis:
    """The node's ENIs. `source` is `imds`, or `ec2` for those with the pod's MACs; `error` says why none."""

    enis: tuple[Eni, ...] = ()
    source: str = ""
    error: AgentError | None = None

    @property
    def exit_code(self) -> int:
        """0, or why they are not known."""
        return self.error.exit_code if self.error else ExitCode.OK


class CommandContext:
    """Settings and connections of one command. Raises ContractError or AgentError for wrong settings."""

    def __init__(self, env: Mapping[str, str], timing: Timing) -> None:
        self.env = env
        self.timing = timing
        self.settings = AgentSettings.from_env(env)
        self.pod = {
            "namespace": env.get(ENV_POD_NAMESPACE, ""),
            "name": env.get(ENV_POD_NAME, ""),
            "node": env.get(ENV_NODE_NAME, ""),
        }
        try:
            self.allowed: tuple[IPNetwork, ...] = parse_networks(self.settings.allowed_cidrs)
        except ValueError as error:
            raise BadUsage(f"{ENV_ALLOWED_CIDRS} can't be read: {error}") from None
        self._logged = io.StringIO()
        log = Log(level=LogLevel.WARNING, form=LogFormat.JSON, stream=self._logged)
        self.direct = PodCloud(env, self.settings.credentials, log, timing)
        self._ec2: Ec2Client | None = None
        self._asked_in = ""

    def close(self) -> None:
        """Close the connections."""
        self.direct.close()
        if self._ec2 is not None:
            self._ec2.close()

    @property
    def warnings(self) -> list[str]:
        """What the agent would have warned of."""
        return [json.loads(line)["message"] for line in self._logged.getvalue().splitlines()]

    def snapshot(self) -> Snapshot:
        """Read what the pod holds; raises AgentError."""
        with Netlink() as netlink:
            return netlink.snapshot(routes=True)

    def nodes(self, macs: Collection[str]) -> NodeEnis:
        """Find the node's ENIs by IMDS, or without it those with these MACs."""
        try:
            topology: Topology = self.direct.topology(macs, fresh=True)
        except AgentError as error:
            return NodeEnis(error=error)
        enis = tuple(sorted(topology.enis, key=lambda eni: (eni.device_number, eni.id)))
        return NodeEnis(enis, "ec2" if any(self.imds(eni) is None for eni in enis) else "imds")

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        """Find attached ENIs by MAC, whatever the agent makes of the others; raises AgentError."""
        found = self.ask(lambda ec2: ec2.by_mac(macs)) if macs else ()
        return tuple(eni for eni in found if eni.device_number is not None)

    def imds(self, eni: Eni) -> frozenset[IPAddress] | None:
        """Return what IMDS shows on the ENI; None where it does not answer."""
        return self.direct.metadata(eni)

    def elastic_ips(self, eni: Eni) -> dict[str, str]:
        """Return the ENI's Elastic IPs by private address; none where IMDS does not answer."""
        try:
            return self.direct.elastic_ips(eni.mac)
        except NoImds:
            return {}

    def describe(self, eni_ids: Collection[str]) -> tuple[EniDetails, ...]:
        """Return EC2's view of ENIs; raises AgentError."""
        return self.ask(lambda ec2: ec2.by_id(eni_ids)) if eni_ids else ()

    def holding(self, addresses: Collection[IPAddress], vpc_id: str) -> tuple[EniDetails, ...]:
        """Find who holds addresses in a VPC; raises AgentError."""
        return self.ask(lambda ec2: ec2.holders(addresses, vpc_id=vpc_id)) if addresses else ()

    def ask(self, call: Callable[[Ec2Client], Answer]) -> Answer:
        """Call EC2, again where it is throttled or silent; raises AgentError."""
        tries = 1
        while True:
            try:
                return call(self.ec2())
            except Ec2Error as error:
                failure = error.failure
                reason = error_of(failure)
                if not reason.transient or tries == TRIES:
                    raise reason from None
            self.timing.sleep(backoff_for(failure.fault).delay(tries - 1, self.timing.random()))
            tries += 1

    def ec2(self) -> Ec2Client:
        """Connect to EC2 where that is not done yet; raises Ec2Error or AgentError."""
        if self._ec2 is None:
            region = self._region()
            self._ec2 = Ec2Client(BotocoreConnection(region, self.settings.credentials))
            self._asked_in = region
        return self._ec2

    def access(self) -> dict[str, str]:
        """Tell region and identity of the calls so far; empty without calls."""
        if self._ec2 is None:
            return {"region": "", "identity": ""}
        return {"region": self._asked_in, "identity": self._ec2.identity}

    def _region(self) -> str:
        try:
            if region := profile_region(self.env):
                return region
        except BotoCoreError as error:
            raise BadUsage(f"The AWS configuration can't be read: {error}", "Look at AWS_PROFILE.") from None
        with closing(Imds(endpoint_of(self.env), self.timing)) as imds:
            return imds.region()
