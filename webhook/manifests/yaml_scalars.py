"""The value that kubectl reads from a plain YAML scalar.

kubectl reads manifests by go-yaml 2 (sigs.k8s.io/yaml, goyaml.v2/resolve.go), which is neither YAML 1.1
nor 1.2: `yes` and `on` are booleans, `0123` and `0o123` octal, `1e3` a number, but `12:30` and
`2024-01-01` strings. PyYAML's own rules differ in each of the last four.
"""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)

Scalar = str | bool | int | float | None


def plain_scalar(text: str) -> Scalar:
    """Read a scalar that is written without quotes and without a tag."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    integer = _integer(digits)
    if integer is not None:
        return integer
    if not _FLOAT.fullmatch(digits) or math.isinf(number := float(digits)):
        return text
    return number


def _integer(digits: str) -> int | None:
    found = _INTEGER.fullmatch(digits)
    if found is None:
        return None
    sign, *groups = found.groups()
    base, magnitude = next((base, text) for base, text in zip(_BASES, groups, strict=True) if text)
    # go-yaml reads a number that does not fit into 64 bits as a float; int() of a huge digit string is
    # quadratic.
    if len(magnitude) > 64:
        return None
    value = int(magnitude, base)
    if sign == "-":
        return -value if value <= 1 << 63 else None
    return value if value < 1 << 64 else None
