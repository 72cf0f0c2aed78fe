"""The figures as text: Markdown, so that they can stand in a document as they are printed. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cluster.figures import CPU, NO_OP, WITHOUT, Results, Seconds, Start, starts, targets
from benchmarks.common.grid import grid
from benchmarks.common.targets import verdicts

ON_PREFIXES = "A network of prefixes with the backend `node`, one pod at a time"
OWN_IMAGE = "the no-op is a program of the agent's own image that ends at once"


def render(results: Results) -> str:
    """Write everything."""
    alone, together = len(results.alone[WITHOUT]), len(results.together[WITHOUT])
    guaranteed, prefixes = len(results.guaranteed[WITHOUT]), len(results.prefixes[NO_OP])
    return "\n\n".join(
        [
            f"{results.machine.describe()}\nKubernetes {results.kubernetes}; both nodes share this machine.",
            f"From create to Ready, one pod at a time ({alone} of each, in turns):",
            _grid(results.alone),
            f"{results.size} pods at once, until the last one is Ready ({together} times each, in turns):",
            _grid(results.together),
            f"Guaranteed pods, {CPU} for each container, one at a time ({guaranteed} of each, in turns):",
            _grid(results.guaranteed),
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
