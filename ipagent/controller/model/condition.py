"""Conditions of objects (Kubernetes API conventions, "Typical status properties")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.shorten import shortened

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
MAX_MESSAGE = 1024
"""Characters of a message. A longer one is cut where the condition is made: what is decided must be equal to
what the API server shows of it, or it would be written again and again."""


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
    return Condition(TRUE, reason, shortened(message, MAX_MESSAGE))


def no(reason: str, message: str) -> Condition:
    """Return a condition that is not met."""
    return Condition(FALSE, reason, shortened(message, MAX_MESSAGE))


def unknown(reason: str, message: str) -> Condition:
    """Return a condition that cannot be determined now."""
    return Condition(UNKNOWN, reason, shortened(message, MAX_MESSAGE))


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
