"""State of the controller: the input of every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ipagent.controller.model.actions import Call
from ipagent.controller.model.ec2_snapshot import Ec2Snapshot
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.node_slice_pools import SliceReport


class Releases(StrEnum):
    """Which ENIs are detached and deleted: `report` leaves leaked ones, `off` all."""

    ON = "on"
    REPORT = "report"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class State:
    """What the API server and EC2 say; mappings go by name."""

    cluster: str
    """The cluster's name, in the tags of its ENIs."""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    networks: Mapping[str, NodeNetwork] = field(default_factory=dict)
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    ec2: Ec2Snapshot = field(default_factory=Ec2Snapshot)
    busy: Mapping[str, Call] = field(default_factory=dict)
    """Calls that have no answer yet, by their key."""
    releases: Releases = Releases.ON
    slices: Mapping[str, SliceReport] = field(default_factory=dict)
    """By network: what the API server has of its NodeSlicePool."""
