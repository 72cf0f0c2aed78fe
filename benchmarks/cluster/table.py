"""The figures as text: Markdown, so that they can stand in a document as they are printed. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cluster.figures import (
    LITTLE_CPU,
    MORE_CPU,
    NO_OP,
    ONE_CPU,
    WITHOUT,
    Results,
    Seconds,
    Start,
    starts,
    targets,
)
from benchmarks.common.grid import grid
from benchmarks.common.targets import verdicts
from common.pod_keys import AGENT_CPU

ON_PREFIXES = "A network of prefixes with the backend `node`, one pod at a time"
OWN_IMAGE = (
    "the no-op is a program of the agent's own image that ends at once, bare Python is its interpreter"
)


def render(results: Results) -> str:
    """Write everything."""
    alone, together = len(results.alone[WITHOUT]), len(results.together[WITHOUT])
    guaranteed, one_cpu = len(results.guaranteed[WITHOUT]), len(results.one_cpu[NO_OP])
    prefixes = len(results.prefixes[NO_OP])
    in_turns = f"of each, in turns; {MORE_CPU}: the agent's, by `{AGENT_CPU}`"
    return "\n\n".join(
        [
            f"{results.machine.describe()}\nKubernetes {results.kubernetes}; both nodes share this machine.",
            f"From create to Ready, one pod at a time ({alone} of each, in turns):",
            _grid(results.alone),
            f"{results.size} pods at once, until the last one is Ready ({together} times each, in turns):",
            _grid(results.together),
            f"Guaranteed pods, {LITTLE_CPU} a container, one at a time ({guaranteed} {in_turns}):",
            _grid(results.guaranteed),
            f"Guaranteed pods, {ONE_CPU} CPU for the app, one at a time ({one_cpu} of each, in turns):",
            _grid(results.one_cpu),
            f"{ON_PREFIXES} ({prefixes} of each, in turns; {OWN_IMAGE}):",
            _grid(results.prefixes),
            verdicts(targets(results)),
        ]
    )


def _grid(found: Seconds) -> str:
    head = ("pod", "mean", "shortest", "longest", "beyond the no-op", "ratio")
    return grid([head, *map(_row, starts(found))])


def _row(start: Start) -> Sequence[str]:
    times = (start.mean, start.shortest, start.longest)
    return (
        start.variant,
        *(f"{each:.2f} s" for each in times),
        f"{start.beyond:+.2f} s",
        f"{start.ratio:.2f} x",
    )
