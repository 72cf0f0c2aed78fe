"""This node's NodeAttachments: which ENIs it has, and what the controller has answered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from ipagent.assign.addresses import IPNetwork
from ipagent.assign.topology import Eni
from ipagent.call_relay import RelayAnswer, RelayAnswers, RelayCall
from ipagent.call_relay_status import read_answers

Wanted = Mapping[str, Sequence[RelayCall]]
"""The name of a NodeAttachment -> the calls to ask for; their ids do not count."""


@dataclass(frozen=True, slots=True)
class RelayAttachment:
    """A NodeAttachment with an ENI, by which calls about this ENI are asked for."""

    name: str
    instance: str
    eni: str
    subnet: str = ""
    cidrs: tuple[IPNetwork, ...] = ()
    """The ranges of the ENI's subnet, none while the controller does not know them."""
    responses: RelayAnswers = field(default_factory=RelayAnswers)
    leaving: bool = False
    """Whether it is being deleted: its pods keep and release what they have, and new ones get nothing."""
    mac: str = ""
    device: int = 0
    card: int = 0

    def as_eni(self) -> Eni:
        """Return the ENI as the controller has found it: its MAC and its subnet never change."""
        barred = "is being detached" if self.leaving else ""
        return Eni(self.eni, self.mac, self.device, self.subnet, self.cidrs, barred, self.card)

    def answers(self, session: str) -> Mapping[int, RelayAnswer]:
        """Return the controller's answers to this session's calls by id."""
        return self.responses.of(session)


def read_attachment(found: Mapping[str, Any]) -> RelayAttachment | None:
    """Read a NodeAttachment that the API server has checked; None while it has no ENI."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    eni = str(status.get("eni") or "")
    # Without a device index it is not attached yet, or not any more.
    if not eni or status.get("device") is None:
        return None
    return RelayAttachment(
        str(metadata["name"]),
        str(spec["instanceID"]),
        eni,
        str(status.get("subnet") or ""),
        tuple(map(ip_network, status.get("cidrs") or ())),
        read_answers(status),
        "deletionTimestamp" in metadata,
        str(status.get("mac") or "").lower(),
        int(status["device"]),
        int(status.get("card") or 0),
    )
