"""The figures as text: Markdown, so that they can stand in a document as they are printed. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.common.grid import grid
from benchmarks.common.targets import verdicts
from benchmarks.webhook.creates import FEWEST, Creates, as_factor
from benchmarks.webhook.figures import BARE, CONSTANT, FLOOR, NONE, OURS, Sample
from benchmarks.webhook.results import ApiServer, Results, better_peer, targets

UNDISTURBED = 0.9
"""Share of its core that a server uses under full load if nobody else wants it."""


def render(results: Results) -> str:
    """Write everything that was measured."""
    parts = [f"{results.machine.describe()}\n{', '.join(results.tls)}."]
    if results.per_core:
        parts += [_per_core(results), _memory(results)]
    if results.api_server is not None:
        parts.append(_api_server(results.api_server))
    if results.start:
        parts.append(_start(results))
    parts.append(verdicts(targets(results)))
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    return "\n\n".join(parts)


def _per_core(results: Results) -> str:
    names = list(next(iter(results.per_core.values())))
    peers = better_peer(next(iter(results.per_core.values()))) is not None
    head = ["review, bytes", *names, "ours / floor", "ours / bare"]
    if peers:
        head += ["ours / better peer", "p99 / better peer's"]
    rows = [head]
    for review, samples in results.per_core.items():
        row = [f"{review}, {results.sizes[review]}", *(_sample(samples[name]) for name in names)]
        row += [f"{_times(samples, floor):.0%}" for floor in (FLOOR, BARE)]
        peer = better_peer(samples)
        if peer is not None:
            row += [f"{_times(samples, peer):.1f} x", f"{samples[OURS].p99 / samples[peer].p99:.2f} x"]
        rows.append(row)
    legend = "; ".join(f"{name}: {results.titles[name]}" for name in names)
    return (
        f"### One core, TLS, {results.connections} connections\n\n"
        f"Requests per second (p50 / p99 in ms), medians of {results.repeats} turns. {legend}.\n\n"
        f"{grid(rows)}\n\n"
        f"The server's CPU time a request, in microseconds:\n\n{_cpu(results, names)}\n\n{_limit(results)}"
    )


def _cpu(results: Results, names: Sequence[str]) -> str:
    rows = [["review", *names]]
    for review, samples in results.per_core.items():
        rows.append([review, *(f"{samples[name].cpu_microseconds:.0f}" for name in names)])
    return grid(rows)


def _sample(sample: Sample) -> str:
    return f"{sample.requests_per_second:.0f} ({sample.p50:.1f} / {sample.p99:.1f})"


def _times(samples: Mapping[str, Sample], other: str) -> float:
    return samples[OURS].requests_per_second / samples[other].requests_per_second


def _limit(results: Results) -> str:
    samples = [sample for by_name in results.per_core.values() for sample in by_name.values()]
    server, client = min(s.server_cpu for s in samples), max(s.client_cpu for s in samples)
    used = (
        f"CPU: the servers used at least {server:.0%} of their core, the client at most {client:.0%} of its."
    )
    if server < UNDISTURBED:
        return f"{used} Other programs ran on the server's core meanwhile: repeat this on a quiet machine."
    return used


def _memory(results: Results) -> str:
    rows = [["MB (10^6 bytes)", *results.memory]]
    for when, attribute in (("right after the load", "loaded"), ("at the end of the run", "end")):
        for what in ("rss", "pss"):
            found = (getattr(getattr(use, attribute), what) for use in results.memory.values())
            rows.append([f"{what.upper()}, {when}", *(f"{size:.1f}" for size in found)])
    return f"### Memory\n\n{grid(rows)}"


def _api_server(figures: ApiServer) -> str:
    head = ["webhook"]
    for clients in figures.creates:
        head += [f"{_clients(clients)}: p50 / p99", "added p50", "of constant's"]
    head += [f"burst of {figures.burst_size}: s", "p99"]
    rows = [head]
    for name in figures.titles:
        row = [name]
        for by_name in figures.creates.values():
            row += _creates(name, by_name[name])
        rows.append([*row, f"{figures.burst[name].seconds:.2f}", f"{figures.burst[name].p99:.0f}"])
    client = max(found.client_cpu for by_name in figures.creates.values() for found in by_name.values())
    return (
        f"### Through kube-apiserver {figures.version}\n\n{_legend(figures)}\n\n{grid(rows)}\n\n"
        f"CPU: the load client took at most {client:.0%} of its core, which etcd and API server use, too."
    )


def _creates(name: str, found: Creates) -> list[str]:
    return [
        f"{found.p50:.2f} / {found.p99:.2f}",
        "" if name == NONE else f"{found.added.median:+.2f}",
        "" if name == CONSTANT else as_factor(found.of_constant),
    ]


def _legend(figures: ApiServer) -> str:
    turns = "; ".join(_turns(figures, clients) for clients in figures.creates)
    lanes = "; ".join(f"{name}: {title}" for name, title in figures.titles.items())
    return (
        "Milliseconds for a dry-run create of a pod; p50 and p99 are those of all creates. They take turns "
        f"{turns}. Within each turn p50 is compared with none's (`added p50`) and with constant's (`of "
        "constant's`): the table has the medians of these differences and ratios, and in brackets their 95 % "
        f"intervals, of fewer than {FEWEST} turns the least and the most. "
        f"Bursts: {figures.burst_size} creates that are stored, by {figures.burst_clients} clients at once, "
        f"medians of {figures.bursts}. {lanes}."
    )


def _turns(figures: ApiServer, clients: int) -> str:
    found = figures.creates[clients]
    both, others = (len(found[name].of_constant.turns) for name in (OURS, NONE))
    length = f"{figures.seconds[clients]:g} s"
    return f"of {length} at {_clients(clients)}: ours and constant {both}, the others {others}"


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _start(results: Results) -> str:
    each = ", ".join(f"{seconds:.2f}" for seconds in results.start)
    return f"### Start\n\nFrom the start of the process to the first 200 from /readyz, in seconds: {each}."
