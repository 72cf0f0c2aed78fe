"""AWS for a node agent without rights in AWS: EC2 through the controller, IMDS directly."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from common.agent_settings import Credentials
from ipagent.assign.errors import Ec2Error, NoImds, error_of
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Unread
from ipagent.aws.node_cloud import NodeCloud
from ipagent.log import Log
from ipagent.node.central.client import Relay, RelayClient


class CentralCloud(NodeCloud):
    """The node's ENIs are those of its NodeAttachments."""

    def __init__(
        self, env: Mapping[str, str], relay: Relay, log: Log, timing: Timing, *, require_tag: bool = True
    ) -> None:
        super().__init__(env, Credentials.CHAIN, log, timing, require_tag=require_tag)
        self._client_by_relay = RelayClient(relay, timing)

    def _connect(self) -> RelayClient:
        return self._client_by_relay

    def _unread(self) -> tuple[Unread, ...]:
        return tuple(Unread(via.as_eni(), error_of(failure)) for via, failure in self._client_by_relay.unread)

    def _identify(self) -> None:
        """Learn the instance from the NodeAttachments; raises AgentError."""
        try:
            # A node that comes back under its name has another one.
            self.instance_id = self._client_by_relay.instance_id() or self.instance_id
        except Ec2Error as error:
            raise error_of(error.failure) from None
        # For what it shows of addresses and prefixes: EC2 need not be asked for those. It needs no rights.
        with suppress(NoImds):
            self._service()
