"""`ipagent addresses`: what the pod holds, what of it counts, which ENI carries it, and where it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ipagent.assign.addresses import IPAddress
from ipagent.assign.errors import AgentError
from ipagent.assign.holders import name, why_not_ours
from ipagent.assign.selection import Selection
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.commands.context import CommandContext, NodeEnis
from ipagent.commands.inventory import BY_MAC, AddressLocation, Held, Target, inventory, locate, targets
from ipagent.commands.render import (
    Cell,
    Palette,
    Style,
    ec2_document,
    error_lines,
    holder_document,
    sentence,
    table,
    topology_document,
)
from ipagent.commands.simulated_cloud import seen_by

HEADERS = ("INTERFACE", "ADDRESS", "COUNTS", "ENI", "BY", "IMDS", "EC2", "WHY")


@dataclass(frozen=True)
class PodView:
    """The answer of the command. `undecided`: it is not known which interface is the default one."""

    pod: dict[str, str]
    addresses: tuple[AddressLocation, ...]
    selection: Selection
    nodes: NodeEnis
    access: dict[str, str]
    ec2_error: AgentError | None = None
    warnings: tuple[str, ...] = ()
    undecided: bool = False
    elastic_ips: Mapping[str, str] = field(default_factory=dict)
    """By private address, as IMDS shows them."""
    described: tuple[EniDetails, ...] = ()
    """ENIs as EC2 describes them: those that are to carry the addresses, and those that hold them instead."""


def inspect(context: CommandContext) -> PodView:
    """Look at the pod and its ENIs; raises AgentError where not even the pod can be looked at."""
    settings = context.settings
    found = inventory(context.snapshot(), settings.interfaces, context.allowed, settings.guessed_interfaces)
    macs = {holding.mac for holding in found.selection.holdings}
    nodes = context.nodes(macs) if macs else NodeEnis()
    topology = Topology(nodes.enis)
    wanted = targets(found.held, topology) if nodes.enis else {}
    carriers = {target.eni.id: target.eni for target in wanted.values() if target.eni}
    imds = {eni_id: context.imds(eni) for eni_id, eni in carriers.items()}
    elastic_ips: dict[str, str] = {}
    for eni in carriers.values():
        elastic_ips |= context.elastic_ips(eni)
    enis: dict[str, EniDetails] | None = None
    others: tuple[EniDetails, ...] = ()
    error = None
    try:
        enis = {eni.eni_id: eni for eni in context.describe(carriers.keys())}
        nodes = with_barred(nodes, enis)
        wanted = targets(found.held, Topology(nodes.enis)) if nodes.enis else {}
        others = _others(context, wanted, enis)
    except AgentError as failed:
        error = failed
    return PodView(
        context.pod,
        locate(found.held, wanted, imds, enis, others),
        found.selection,
        nodes,
        context.access(),
        error,
        tuple(context.warnings),
        found.undecided,
        elastic_ips,
        seen_by(enis, others),
    )


def with_barred(nodes: NodeEnis, described: Mapping[str, EniDetails]) -> NodeEnis:
    """Return the ENIs with what EC2 says of them: the agent asks it, too, before it assigns an address."""

    def barred(eni: Eni) -> str:
        held = described.get(eni.id)
        if held is None:
            return eni.barred
        return f"is {held.why_not_here}" if held.why_not_here else why_not_ours(held, require_tag=False)

    return replace(nodes, enis=tuple(replace(eni, barred=barred(eni)) for eni in nodes.enis))


def _others(
    context: CommandContext, wanted: Mapping[Held, Target], enis: Mapping[str, EniDetails]
) -> tuple[EniDetails, ...]:
    """Find the ENIs that hold what is not where it belongs; raises AgentError."""
    astray: dict[str, set[IPAddress]] = {}
    for held, target in wanted.items():
        own = enis.get(target.eni.id) if target.eni else None
        if own is not None and not own.holds(held.holding.address):
            astray.setdefault(own.vpc_id, set()).add(held.holding.address)
    return tuple(eni for vpc_id, lost in astray.items() for eni in context.holding(lost, vpc_id))


def as_document(view: PodView) -> dict[str, Any]:
    """Write the answer for programs."""
    return {
        "pod": view.pod,
        "addresses": [_address(one, view.elastic_ips) for one in view.addresses],
        "withoutAddresses": list(view.selection.bare),
        "missingInterfaces": list(view.selection.missing),
        "topology": topology_document(view.nodes),
        "ec2": ec2_document(view.access, view.ec2_error),
        "warnings": list(view.warnings),
    }


def _address(one: AddressLocation, elastic_ips: Mapping[str, str]) -> dict[str, Any]:
    holding, target = one.held.holding, one.target
    return {
        "interface": holding.interface,
        "mac": holding.mac,
        "address": str(holding.address),
        "counts": one.held.counts,
        "reason": one.held.why,
        "tentative": one.held.tentative,
        "eni": target.eni.id if target and target.eni else None,
        "foundBy": target.found_by or None if target else None,
        "eniReason": target.why if target else "",
        "candidates": [eni.id for eni in target.candidates] if target else [],
        "inImds": one.in_imds,
        "inEc2": one.in_ec2,
        "heldElsewhere": holder_document(one.elsewhere),
        "elasticIp": elastic_ips.get(str(holding.address)),
    }


def as_text(view: PodView, palette: Palette) -> str:
    """Write the answer for people."""
    if not view.addresses:
        parts = ["The pod holds no addresses.\n"]
    else:
        parts = [table(HEADERS, [_cells(one) for one in view.addresses], palette)]
        parts += [_long(one, palette) for one in view.addresses]
        parts += [
            sentence("Elastic IP", f"{public} belongs to {one.held.holding.address}", palette, Style.GOOD)
            for one in view.addresses
            if (public := view.elastic_ips.get(str(one.held.holding.address)))
        ]
    for label, names in (("No address on", view.selection.bare), ("No interface", view.selection.missing)):
        if names:
            parts.append(sentence(label, ", ".join(names), palette, Style.DOUBTFUL))
    parts += error_lines(view.nodes.error, view.ec2_error, view.warnings, palette)
    return "".join(parts)


def _cells(one: AddressLocation) -> list[Cell]:
    holding, target = one.held.holding, one.target
    return [
        Cell(holding.interface),
        Cell(str(holding.address)),
        Cell("yes", Style.GOOD) if one.held.counts else Cell("no"),
        Cell(target.eni.id) if target and target.eni else Cell(""),
        Cell(target.found_by if target else ""),
        _known(one.in_imds),
        Cell(one.elsewhere.eni_id, Style.BAD) if one.elsewhere else _known(one.in_ec2),
        _why(one),
    ]


def _known(there: bool | None) -> Cell:
    if there is None:
        return Cell("")
    return Cell("yes", Style.GOOD) if there else Cell("no", Style.DOUBTFUL)


def _why(one: AddressLocation) -> Cell:
    if not one.held.counts:
        return Cell(one.held.why)
    reasons = []
    if one.held.tentative:
        reasons.append("duplicate address detection is still running")
    if one.elsewhere:
        reasons.append(f"held by {name(one.elsewhere)}")
    if one.target and (one.target.eni is None or one.target.found_by != BY_MAC):
        reasons.append("see below")
    bad = one.elsewhere or (one.target and not one.target.eni)
    return Cell("; ".join(reasons), Style.BAD if bad else Style.PLAIN)


def _long(one: AddressLocation, palette: Palette) -> str:
    """Write what is too long for the table: how the ENI was found where its MAC did not tell, or why none."""
    if one.target is None or one.target.found_by == BY_MAC:
        return ""
    style = Style.DOUBTFUL if one.target.eni else Style.BAD
    return sentence(
        f"{one.held.holding.address} ({one.held.holding.interface})", one.target.why, palette, style
    )
