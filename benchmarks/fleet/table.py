"""The figures as text: Markdown, so that they can stand in a document as they are printed. No I/O."""

from __future__ import annotations

from benchmarks.common.grid import grid
from benchmarks.common.targets import verdicts
from benchmarks.fleet.figures import Failover, Latency, Moves, Outcome, Rest, Starts
from benchmarks.fleet.results import Results, targets

WHAT_IT_IS = """\
- `node`: node agents as the chart starts them (`ipagent node`), a process a node, on a real API server.
  A script writes the pods and their network-status.
- `central`: the same agents without rights to EC2, and one `ipagent controller --relay`. The
  controller's own calls are among the other calls.
- `direct`: for each pod the code of `ipagent init` in a thread of one process. The kernel is simulated,
  IMDS is read once a node, and the start of the interpreters is left out. A container that does not
  succeed within its two minutes is started again, as the kubelet does.

EC2 is the double: it answers at once, and has EC2's request limits. Pods that come at once: the agents are
stopped while the script writes, and all go on in the same instant. Seconds are from a pod's network-status
until its address is on the ENI."""

STARTS = """\
Seconds are from network-status until the pod's injected container ends with exit code 0: then the
kubelet starts the app. A pod has one secondary address, or one address of a /28 prefix of its node's
ENI.

- `node`: the containers speak the protocol of `ipagent init` with their node agents. Each sends its
  pod's token, and the node agent has the API server review it, which takes most of the time. CPU is that
  of all node agents.
- `direct`: CPU is that of all containers, without the start of their interpreters.

No controller runs. EC2 calls are all that EC2 received until the last container had ended. *off*: EC2
resets every connection."""


def render(results: Results) -> str:
    """Write everything."""
    head = [
        "scenario",
        "backend",
        "Assign calls",
        "other calls",
        "throttled",
        "not assigned",
        "p50",
        "p99",
        "longest",
        "first to last",
        "restarts",
    ]
    costs = [
        ["node agents", "pods in all", "peak RSS, largest", "PSS, mean"],
        *(
            [str(each.agents), str(each.pods), f"{each.peak:.1f} MB", f"{each.pss:.1f} MB"]
            for each in results.crowds
        ),
    ]
    return "\n\n".join(
        [
            f"{results.machine.describe()}\n\n{WHAT_IT_IS}",
            grid([head, *map(_row, _beside_each_other(results))]),
            grid(costs),
            f"### Pods that come at once, by how they get addresses\n\n{STARTS}",
            grid([STARTS_HEAD, *map(_starts_row, results.starts)]),
            _alone(results.alone),
            "With the backend `central`: " + _alone(results.central.alone),
            MOVES,
            grid(
                [MOVES_HEAD, _moves_row("node", results.moves), _moves_row("central", results.central.moves)]
            ),
            _killed(results.central.killed),
            _rest(results.rest),
            verdicts(targets(results)),
        ]
    )


MOVES = """\
A floating address moves to another node: milliseconds from the statement of a pod there until EC2
has moved the address. The node looks up which ENI has it, and takes it over. That node has made no call
for 10 s before."""

MOVES_HEAD = ["backend", "takeovers", "p50", "p99", "longest"]

STARTS_HEAD = [
    "addresses",
    "backend",
    "EC2",
    "pods",
    "EC2 calls",
    "throttled",
    "failed",
    "p50",
    "all ready",
    "CPU",
]


def _starts_row(found: Starts) -> list[str]:
    return [
        found.addresses,
        found.backend,
        "off" if found.ec2_off else "on",
        str(found.pods),
        str(found.calls),
        str(found.throttled),
        str(found.failed),
        f"{found.p50:.2f} s",
        f"{found.longest:.2f} s",
        f"{found.cpu_ms / 1000:.1f} s",
    ]


def _beside_each_other(results: Results) -> list[Outcome]:
    node, others = results.outcomes[:3], results.outcomes[3:]
    central = results.central
    every = [*node, central.once, central.spread, central.killed.outcome, *others]
    return sorted(every, key=lambda each: each.scenario)


def _moves_row(backend: str, found: Moves) -> list[str]:
    return [backend, str(found.turns), *(f"{each:.1f} ms" for each in (found.p50, found.p99, found.longest))]


def _killed(found: Failover) -> str:
    return (
        "Of two replicas of the controller the leading one is killed, just after it has renewed its Lease of "
        f"15 s, in the middle of a burst: the last of {found.outcome.pods} pods has its address "
        f"{found.recovered:.1f} s later."
    )


def _alone(found: Latency) -> str:
    return (
        f"A pod alone on a calm node, {found.turns} times: from sending network-status until EC2 has the "
        f"call p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms, longest {found.longest:.1f} ms; from the API "
        f"server's answer p50 {found.answered:.1f} ms."
    )


def _rest(found: Rest) -> str:
    return (
        f"A node agent at rest for {found.seconds:.0f} s: {found.cpu_ms:.2f} ms CPU and {found.switches:.2f} "
        "context switches a second."
    )


def _row(found: Outcome) -> list[str]:
    return [
        found.scenario,
        found.backend,
        str(found.assigns),
        str(found.other),
        str(found.throttled),
        str(found.missing),
        f"{found.p50:.2f} s",
        f"{found.p99:.2f} s",
        f"{found.longest:.2f} s",
        f"{found.span:.2f} s",
        str(found.restarts),
    ]
