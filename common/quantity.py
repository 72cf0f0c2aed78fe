"""Kubernetes resource quantities (k8s.io/apimachinery/pkg/api/resource): parsed exactly, formatted short."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

_SYNTAX = re.compile(
    r"([+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30}))(Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,2}|[numkMGTPE]?)", re.ASCII
)
_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
MEBIBYTE = 2**20


def parse_quantity(value: str | float) -> Decimal:
    """Parse a quantity such as `250m`, `64Mi`, `1e3` or 2. Raises ValueError."""
    found = _SYNTAX.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{str(value)[:64]!r} is not a quantity such as 250m or 64Mi")
    number, suffix = found.groups()
    scale = _SCALE[suffix] if suffix in _SCALE else Decimal(f"1{suffix}")
    return Decimal(number) * scale


def whole_number(value: object) -> int | None:
    """Return a quantity that is a whole number from 0, such as an extended resource has; None for all else.

    The API server takes nothing else of such a resource, and writes what it takes in its shortest form: 1000
    as `1k` (Quantity.String).
    """
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    try:
        number = parse_quantity(value)
    except ValueError:
        return None
    return int(number) if number >= 0 and number == number.to_integral_value() else None


def cpu_text(cores: Decimal) -> str:
    """Format an amount of CPU in millicores, rounded up."""
    return f"{int((cores * 1000).to_integral_value(ROUND_CEILING))}m"


def memory_text(size: Decimal) -> str:
    """Format an amount of memory in MiB if it is whole, otherwise in bytes, rounded down."""
    whole = int(size.to_integral_value(ROUND_FLOOR))
    return f"{whole // MEBIBYTE}Mi" if whole % MEBIBYTE == 0 else str(whole)
