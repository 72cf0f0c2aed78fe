"""`ipagent enis`: the node's ENIs as IMDS shows them, EC2's view beside it, and where the two differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.errors import AgentError
from ipagent.assign.holders import NO_MANAGE, owner_of
from ipagent.assign.topology import Eni, EniDetails
from ipagent.aws.describe_enis import as_eni
from ipagent.commands.context import CommandContext, NodeEnis
from ipagent.commands.inventory import inventory
from ipagent.commands.render import (
    Cell,
    Palette,
    Style,
    ec2_document,
    error_lines,
    sentence,
    table,
    topology_document,
)

HEADERS = ("ENI", "DEVICE", "MAC", "SUBNET", "RANGES", "POD", "IMDS", "EC2", "PRIMARY", "SECONDARY")


@dataclass(frozen=True)
class EniView:
    """An ENI of this node. `imds` and `ec2` are None where that side was not to be had.

    `interfaces` are the pod's interfaces with its MAC.
    """

    eni: Eni
    interfaces: tuple[str, ...]
    imds: frozenset[IPAddress] | None
    ec2: EniDetails | None

    @property
    def assignable(self) -> bool:
        """Whether the agent may assign addresses to it, as far as IMDS and EC2 tell."""
        return self.eni.usable and not (self.ec2 and owner_of(self.ec2))

    @property
    def only_in_imds(self) -> tuple[IPAddress, ...]:
        """What IMDS shows and EC2 does not: IMDS lags behind, or the address has just been taken away."""
        return _difference(self.imds, self._in_ec2)

    @property
    def only_in_ec2(self) -> tuple[IPAddress, ...]:
        """What EC2 shows and IMDS does not yet."""
        return _difference(self._in_ec2, self.imds)

    @property
    def _in_ec2(self) -> tuple[IPAddress, ...] | None:
        return self.ec2.addresses if self.ec2 else None


@dataclass(frozen=True)
class NodeView:
    """The answer of the command."""

    enis: tuple[EniView, ...]
    nodes: NodeEnis
    access: dict[str, str]
    ec2_error: AgentError | None = None
    warnings: tuple[str, ...] = ()


def inspect(context: CommandContext) -> NodeView:
    """Look at the node's ENIs; raises AgentError where not even the pod can be looked at."""
    snapshot = context.snapshot()
    settings = context.settings
    selection = inventory(
        snapshot, settings.interfaces, context.allowed, settings.guessed_interfaces
    ).selection
    holdings = (*selection.holdings, *(refusal.holding for refusal in selection.refused))
    macs = {holding.mac for holding in holdings if holding.mac}
    macs |= {link.mac for link in snapshot.links if link.name in selection.bare and link.mac}
    nodes = context.nodes(macs)
    described: dict[str, EniDetails] = {}
    error = None
    try:
        if nodes.error is not None:
            found_by_mac = context.by_mac(macs)
            nodes = replace(nodes, enis=tuple(map(as_eni, found_by_mac)), source="ec2")
        described = {eni.eni_id: eni for eni in context.describe([eni.id for eni in nodes.enis])}
    except AgentError as failed:
        error = failed
    views = tuple(
        EniView(
            eni=eni,
            interfaces=tuple(link.name for link in snapshot.links if link.mac and link.mac == eni.mac),
            imds=context.imds(eni),
            ec2=described.get(eni.id),
        )
        for eni in nodes.enis
    )
    return NodeView(views, nodes, context.access(), error, tuple(context.warnings))


def as_document(view: NodeView) -> dict[str, Any]:
    """Write the answer for programs."""
    return {
        "enis": [_eni(one) for one in view.enis],
        "topology": topology_document(view.nodes),
        "ec2": ec2_document(view.access, view.ec2_error),
        "warnings": list(view.warnings),
    }


def _eni(view: EniView) -> dict[str, Any]:
    eni = view.eni
    return {
        "id": eni.id,
        "deviceNumber": eni.device_number,
        "mac": eni.mac,
        "subnet": eni.subnet_id,
        "ranges": list(map(str, eni.subnet_cidrs)),
        "usable": view.assignable,
        "interfaces": list(view.interfaces),
        "imds": None if view.imds is None else _texts(view.imds),
        "ec2": details_document(view.ec2),
        "onlyInImds": _texts(view.only_in_imds),
        "onlyInEc2": _texts(view.only_in_ec2),
    }


def details_document(eni: EniDetails | None) -> dict[str, Any] | None:
    """Write EC2's view of an ENI, for programs."""
    if eni is None:
        return None
    return {
        "instance": eni.instance_id or None,
        "deviceNumber": eni.device_number,
        "vpc": eni.vpc_id,
        "noManage": eni.no_manage,
        "primary": list(map(str, eni.primaries)),
        "secondary": list(map(str, eni.secondaries)),
        "prefixes": list(map(str, eni.prefixes)),
    }


def _texts(addresses: Iterable[IPAddress]) -> list[str]:
    return [str(address) for address in sorted(addresses, key=sort_key)]


def as_text(view: NodeView, palette: Palette) -> str:
    """Write the answer for people."""
    parts = [table(HEADERS, [_cells(one) for one in view.enis], palette)] if view.enis else []
    for one in view.enis:
        parts += _remarks(one, palette)
    parts += error_lines(view.nodes.error, view.ec2_error, view.warnings, palette)
    return "".join(parts)


def _cells(view: EniView) -> list[Cell]:
    eni, ec2 = view.eni, view.ec2
    differs = view.only_in_imds or view.only_in_ec2
    shown = ec2.addresses if ec2 else sorted(view.imds or (), key=sort_key)
    # IMDS lists the primary first, but only EC2 says that it is one.
    primaries = ec2.primaries if ec2 else ()
    return [
        Cell(eni.id),
        Cell(str(eni.device_number), Style.PLAIN if view.assignable else Style.DOUBTFUL),
        Cell(eni.mac),
        Cell(eni.subnet_id),
        Cell(",".join(map(str, eni.subnet_cidrs))),
        Cell(",".join(view.interfaces), Style.GOOD),
        Cell("" if view.imds is None else str(len(view.imds)), _marked(differs)),
        Cell(str(len(ec2.addresses)) if ec2 else "", _marked(differs)),
        Cell(",".join(map(str, primaries))),
        Cell(",".join(str(address) for address in shown if address not in primaries)),
    ]


def _marked(differs: object) -> Style:
    return Style.BAD if differs else Style.PLAIN


def _remarks(view: EniView, palette: Palette) -> list[str]:
    found = []
    if not view.assignable:
        owner = "belongs to the VPC CNI" if view.eni.is_primary else view.eni.barred
        owner = owner or (owner_of(view.ec2) if view.ec2 else "")
        text = f"{view.eni.slot if view.eni.is_primary else 'it'} {owner}: the agent assigns no address to it"
        found.append((text, Style.DOUBTFUL))
    elif view.ec2 and not view.ec2.no_manage:
        text = f"it lacks the tag {NO_MANAGE}=true: the VPC CNI may take its addresses for its own pods"
        found.append((text, Style.DOUBTFUL))
    for addresses, text in (
        (view.only_in_imds, "only in IMDS, which lags behind: EC2 has unassigned it"),
        (view.only_in_ec2, "only in EC2: IMDS does not show it yet"),
    ):
        if addresses:
            found.append((f"{', '.join(_texts(addresses))}: {text}", Style.BAD))
    if view.ec2 and view.ec2.prefixes:
        found.append((f"prefixes {', '.join(map(str, view.ec2.prefixes))}", Style.PLAIN))
    return [sentence(view.eni.id, text, palette, style) for text, style in found]


def _difference(one: Iterable[IPAddress] | None, other: Iterable[IPAddress] | None) -> tuple[IPAddress, ...]:
    if one is None or other is None:
        return ()
    return tuple(sorted(set(one) - set(other), key=sort_key))
