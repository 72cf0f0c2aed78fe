"""Pieces that several answers have: who holds an address, how the ENIs and EC2 were asked, errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ipagent.assign.errors import AgentError
from ipagent.assign.topology import EniDetails
from ipagent.commands.context import NodeEnis
from ipagent.commands.table import Palette, Style, sentence


def holder_document(eni: EniDetails | None) -> dict[str, Any] | None:
    """Write who holds an address, for programs."""
    return {"eni": eni.eni_id, "instance": eni.instance_id or None} if eni else None


def topology_document(nodes: NodeEnis) -> dict[str, Any]:
    """Write where the ENIs come from, for programs."""
    return {"source": nodes.source or None, "error": error_document(nodes.error)}


def ec2_document(access: Mapping[str, str], error: AgentError | None) -> dict[str, Any]:
    """Write how EC2 was asked, for programs."""
    return {
        "region": access["region"] or None,
        "identity": access["identity"] or None,
        "error": error_document(error),
    }


def error_document(error: AgentError | None) -> dict[str, Any] | None:
    """Write an error, for programs."""
    if error is None:
        return None
    return {"exitCode": int(error.exit_code), "message": str(error), "remedy": error.remedy}


def error_lines(
    enis: AgentError | None, ec2: AgentError | None, warnings: Iterable[str], palette: Palette
) -> list[str]:
    """Write what could not be looked at, and warnings, below a table."""
    parts = [sentence("Warning", warning, palette, Style.DOUBTFUL) for warning in warnings]
    # The same silence twice is one.
    for label, error in {str(e): (label, e) for label, e in (("EC2", ec2), ("ENIs", enis)) if e}.values():
        parts.append(sentence(f"{label} unknown", f"{error}. {error.remedy}", palette, Style.BAD))
    return parts
