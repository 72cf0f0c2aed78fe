"""Faults as JSON values: what is put to `/_double/faults`, and shown there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields

from tests.doubles.config.document import Node
from tests.doubles.ec2.actions import ACTIONS
from tests.doubles.fault_injection import (
    EVERY_ACTION,
    EVERY_MUTATION,
    IMDS,
    IMDS_METADATA,
    IMDS_TOKEN,
    Connection,
    Fault,
)

MAX_DELAY_MS = 600_000
MANY = 1_000_000
MAX_PID = 1 << 22
"""The largest process id of a 64-bit kernel (proc(5), pid_max)."""

_READERS: Mapping[str, Callable[[Node], object]] = {
    "action": lambda node: node.choice(
        (EVERY_ACTION, EVERY_MUTATION, IMDS, IMDS_TOKEN, IMDS_METADATA, *ACTIONS)
    ),
    "error": lambda node: node.text(r"[A-Za-z0-9.]+", "an EC2 error code"),
    "message": Node.text,
    "status": lambda node: node.integer(400, 599),
    "delay_ms": lambda node: node.integer(0, MAX_DELAY_MS),
    "times": lambda node: node.integer(1, MANY),
    "connection": lambda node: Connection(node.choice(Connection)),
    "kill_pid": lambda node: node.integer(2, MAX_PID),
    "effect": Node.flag,
    "effect_delay_ms": lambda node: node.integer(0, MAX_DELAY_MS),
    "stale_ms": lambda node: node.integer(0, MAX_DELAY_MS),
    "skip": lambda node: node.integer(0, MANY),
    "caller": Node.text,
    "path": Node.text,
}


def read_faults(node: Node) -> tuple[Fault, ...]:
    """Read `{"faults": [{"action": …, "error": …, …}]}`; raises DocumentError that names the key."""
    return tuple(_read(item) for item in node.mapping(required=("faults",))["faults"].items())


def _read(node: Node) -> Fault:
    keys = node.mapping(required=("action",), optional=[name for name in _READERS if name != "action"])
    given = {name: _READERS[name](value) for name, value in keys.items()}
    try:
        return Fault(**given)  # type: ignore[arg-type] # each was read as its field's type
    except ValueError as error:
        node.refuse(str(error))


def fault_document(fault: Fault) -> dict[str, object]:
    """Write a fault as it is read, without what is left at its default."""
    defaults = {field.name: field.default for field in fields(Fault)}
    return {key: value for key, value in asdict(fault).items() if key == "action" or value != defaults[key]}
