"""Whether AWS is unreachable because the pod's route to it leads through a Multus interface."""

from __future__ import annotations

from common.exit_codes import ExitCode
from ipagent.assign.addresses import IPAddress, Snapshot, parse_address
from ipagent.assign.errors import AgentError
from ipagent.assign.report import Report
from ipagent.direct.agent import Agent, Source

IMDS = parse_address("169.254.169.254")
ANYWHERE = parse_address("192.0.2.1")
"""An address for documentation (RFC 5737), which only a default route covers, like EC2's endpoint."""

_DESTINATIONS = {
    int(ExitCode.NO_IMDS): (f"IMDS ({IMDS})", IMDS),
    int(ExitCode.EC2_UNREACHABLE): ("EC2", ANYWHERE),
}


def interface_to(snapshot: Snapshot, address: IPAddress) -> str:
    """Return the interface of the main table's most specific route to the address; empty without a route."""
    covering = [route for route in snapshot.routes if address in route.destination]
    # The kernel lists routes to one destination by their metric.
    best = max(covering, key=lambda route: route.destination.prefixlen, default=None)
    return next((link.name for link in snapshot.links if best and link.index == best.index), "")


def with_route(report: Report, agent: Agent, source: Source) -> Report:
    """Add to a report that AWS was not reached which Multus interface the route takes, if it takes one."""
    if report.exit_code not in _DESTINATIONS:
        return report
    what, address = _DESTINATIONS[report.exit_code]
    try:
        taken = interface_to(source.snapshot(routes=True), address)
    except AgentError:
        return report
    selection = agent.selection
    if taken not in {*selection.bare, *(holding.interface for holding in agent.held())}:
        return report
    text = (
        f" The pod's route to {what} leaves by {taken}, an interface of Multus, from an address to which the "
        "VPC does not deliver yet: take the default route off that network (`default-route` in the networks "
        "annotation, or the gateway of its IPAM), or add a route through the pod's default interface."
    )
    return report.followed_by(text)
