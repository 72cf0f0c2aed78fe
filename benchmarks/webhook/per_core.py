"""Requests per second and latency of each server alone on its core, and what it holds afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.command import progress
from benchmarks.common.memory import Memory, memory_of
from benchmarks.common.order import in_turn
from benchmarks.webhook.figures import Sample, Turns, medians
from benchmarks.webhook.load import Expect, Job, LoadClient
from benchmarks.webhook.servers import Rack, Server

report = progress("webhook")

CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Review:
    """What is sent: the bytes in `file`, `size` of them; `serial` is replaced by the request's number."""

    name: str
    file: Path
    size: int
    serial: str = ""


def measure(
    rack: Rack,
    servers: Sequence[Server],
    reviews: Sequence[Review],
    client: LoadClient,
    turns: Turns,
) -> dict[str, dict[str, Sample]]:
    """Return the medians by review and server; raises LoadError or ProcessError.

    The servers take turns at each point, in another order each time, so that what slows the machine for a
    while slows all.
    """
    samples: dict[str, dict[str, list[Sample]]] = {
        review.name: {server.name: [] for server in servers} for review in reviews
    }
    for turn in range(turns.repeats):
        report(f"per core, turn {turn + 1} of {turns.repeats}")
        for review in reviews:
            for server in in_turn(turn, servers):
                sample = client.run(_job(rack, server, review, turns), server.process.pid)
                server.process.check()
                samples[review.name][server.name].append(sample)
    return {
        review: {server: medians(found) for server, found in by_server.items()}
        for review, by_server in samples.items()
    }


def memory(servers: Sequence[Server]) -> Mapping[str, Memory]:
    """Return what each server holds now."""
    return {server.name: memory_of(server.process.pid) for server in servers}


def _job(rack: Rack, server: Server, review: Review, turns: Turns) -> Job:
    return Job(
        address=server.address,
        ca=str(rack.ca),
        path=server.path,
        body=str(review.file),
        serial=review.serial,
        expect=Expect(200, review=True),
        connections=CONNECTIONS,
        warmup=turns.warmup,
        seconds=turns.seconds,
    )
