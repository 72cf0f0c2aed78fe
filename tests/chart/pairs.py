"""Values of the chart in which each value of a switch meets each value of every other one at least once.

Switches are the booleans and the enumerations of values.schema.json.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chart.values import REQUIRED, existing_secret
from tests.cluster.helm import CHART, merged

Row = dict[str, Any]
"""Switch, as in `webhook.hostNetwork` -> value."""
Pair = tuple[tuple[str, Any], tuple[str, Any]]


_WORDS = ("logLevel", "logFormat", "pullPolicy", "imagePullPolicy")
"""Are written as they are given."""


def switches() -> dict[str, tuple[Any, ...]]:
    """Return the values of each switch."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return dict(_switches(schema, ""))


def _switches(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for key, below in schema.get("properties", {}).items():
        place = f"{path}.{key}".removeprefix(".")
        if key in _WORDS:
            continue
        if below.get("type") == "boolean":
            yield place, (True, False)
        elif "enum" in below:
            yield place, tuple(below["enum"])
        else:
            yield from _switches(below, place)


def rows() -> list[dict[str, Any]]:
    """Return complete values of the chart, as few as a greedy search finds."""
    of = switches()
    left = {
        ((one, a), (two, b)) for one, two in itertools.combinations(of, 2) for a in of[one] for b in of[two]
    }
    found = []
    for first in sorted(left, key=str):
        if first not in left:
            continue
        row = consistent(_row(of, left, dict(first)))
        left.discard(first)
        # A pair that is a contradiction itself has been resolved.
        if first in (pairs := _pairs(row)):
            left -= pairs
            found.append(row)
    return [values_of(row) for row in found]


def _row(of: Mapping[str, tuple[Any, ...]], left: set[Pair], row: Row) -> Row:
    for key, values in of.items():
        if key not in row:
            row[key] = max(values, key=lambda value: sum(_pair(key, value, at) in left for at in row.items()))
    return row


def _pair(key: str, value: Any, other: tuple[str, Any]) -> Pair:
    order = _ORDER
    mine = (key, value)
    return (mine, other) if order[key] < order[other[0]] else (other, mine)


_ORDER = {key: index for index, key in enumerate(switches())}


def _pairs(row: Row) -> set[Pair]:
    ordered = sorted(row.items(), key=lambda item: _ORDER[item[0]])
    return set(itertools.combinations(ordered, 2))


def consistent(row: Row) -> Row:
    """Resolve what the chart refuses as a contradiction."""
    row = dict(row)
    if row["nodeAgent.watchOnly"]:
        row["agent.backend"] = "direct"
        row["capacity.enabled"] = False
    if row["agent.backend"] == "central" or row["capacity.enabled"] or row["nodeAgent.prefixes.enabled"]:
        row["controller.enabled"] = True
    if row["controller.enabled"] and not row["controller.serviceAccount.create"]:
        row["nodeAgent.serviceAccount.create"] = True
    if row["nodeAgent.watchOnly"] and row["nodeAgent.gc.mode"] == "on":
        row["nodeAgent.gc.noFloatingAddresses"] = True
    if row["networkPolicy.enabled"]:
        row["webhook.hostNetwork"] = False
    if row["webhookConfiguration.failurePolicy"] == "Ignore":
        row["webhookConfiguration.reinvocationPolicy"] = "IfNeeded"
    if row["metrics.podMonitor.enabled"]:
        row["metrics.serviceMonitor.enabled"] = False
    shown = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")
    if not row["metrics.enabled"]:
        row |= {f"metrics.{name}.enabled": False for name in shown}
    return row


def values_of(row: Row) -> dict[str, Any]:
    """Return a row as values, with what its values need beside."""
    values: dict[str, Any] = merged(REQUIRED)
    for key, value in row.items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = merged(values, nested)
    if row["controller.enabled"]:
        values = merged(values, {"controller": {"clusterName": "prod"}})
    if row["certificates.mode"] == "existingSecret":
        values = merged(values, existing_secret())
    return values
