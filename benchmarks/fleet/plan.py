"""How much a run measures. No I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; times are seconds.

    `calm` pods come alone to each node, `pause` seconds apart. `rounds` floating addresses move over all
    nodes. `patience` is how long the direct backend has.
    """

    nodes: int
    pods: int
    spread: float
    rest: float
    calm: int
    pause: float
    rounds: int
    crowd: int
    patience: float


FULL = Plan(nodes=20, pods=800, spread=30, rest=60, calm=5, pause=12, rounds=2, crowd=250, patience=600)
QUICK = Plan(nodes=2, pods=40, spread=2, rest=2, calm=1, pause=4, rounds=1, crowd=60, patience=60)

SETTLED = 3.0
"""Seconds between the last pod's making and the first network-status, where they come at once."""
