"""Conditions of objects (Kubernetes API conventions, "Typical status properties")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition's value; `message` says what happened, to what, and what the user does next."""

    status: str
    reason: str
    message: str = ""
    since: str = field(default="", compare=False)
    """lastTransitionTime as the API server has it; empty of a condition that has not been written."""


def yes(reason: str, message: str = "") -> Condition:
    """Return a condition that is met."""
    return Condition(TRUE, reason, message)


def no(reason: str, message: str) -> Condition:
    """Return a condition that is not met."""
    return Condition(FALSE, reason, message)


def unknown(reason: str, message: str) -> Condition:
    """Return a condition that cannot be determined now."""
    return Condition(UNKNOWN, reason, message)


def read_conditions(status: Mapping[str, Any]) -> dict[str, Condition]:
    """Read `status.conditions` by type."""
    return {
        str(each["type"]): Condition(
            str(each["status"]),
            str(each["reason"]),
            str(each.get("message", "")),
            str(each.get("lastTransitionTime", "")),
        )
        for each in status.get("conditions") or ()
    }
