"""One run: start everything, measure in turns, collect what was found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.common.command import progress
from benchmarks.common.machine import Machine, this_machine
from benchmarks.common.memory import Memory
from benchmarks.webhook import api_server, per_core, pods, servers
from benchmarks.webhook.api_server import ApiTurns
from benchmarks.webhook.cores import find_cores, running_on
from benchmarks.webhook.figures import MemoryUse, Sample, Turns
from benchmarks.webhook.isolation import leave_network
from benchmarks.webhook.lanes import open_lanes
from benchmarks.webhook.load import LoadClient, load_program
from benchmarks.webhook.per_core import Review
from benchmarks.webhook.results import ApiServer, Results
from benchmarks.webhook.servers import PEERS, Program, Rack, Server
from tests.cluster.control_plane import ControlPlane
from tests.cluster.tools import Missing
from tests.netns import NamespacesForbidden

report = progress("webhook")

LIBRARIES = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette", "msgspec", "prometheus-client")
SIZES = (1, 10, 64, 256)
"""KiB of the generated pods."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; `per_core` None leaves the servers alone out, and what they hold."""

    per_core: Turns | None
    api_server: ApiTurns
    starts: int


# All clients begin a turn together: the more of them, the longer until their creates are spread over time.
FULL = Plan(
    Turns(3, 1.0, 0.3),
    ApiTurns({1: Turns(16, 0.25, 0.12), 16: Turns(6, 1.0, 0.4)}, bursts=2, burst=500),
    starts=5,
)
QUICK = Plan(
    Turns(1, 0.3, 0.1),
    ApiTurns({1: Turns(2, 0.25, 0.12), 16: Turns(2, 0.5, 0.4)}, bursts=1, burst=200),
    starts=1,
)


def only_api_server(plan: Plan) -> Plan:
    """Leave out all but the creates through the API server."""
    return replace(plan, per_core=None, starts=0)


def run(plan: Plan) -> Results:
    """Measure what can be measured here; what is left out is said in the notes.

    Raises LoadError, ProcessError, ApiError, TooFewCores, TimeoutError, OSError or ValueError, each with a
    sentence.
    """
    machine = this_machine(LIBRARIES, report)
    cores = find_cores()
    client = LoadClient(load_program(), cores)
    peers, notes = _peers()
    with ExitStack() as stack:
        stack.enter_context(running_on(cores.others))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-webhook-")))
        started = _Run(plan, machine, Rack(folder, cores), client, stack)
        return started.results(peers, notes)


def _peers() -> tuple[Path | None, list[str]]:
    """Return the folder of the peers' programs, or why they are left out."""
    folder = next(filter(None, map(os.environ.get, PEERS)), None)
    try:
        leave_network()
    except NamespacesForbidden as error:
        return None, [f"No peers: one of them listens on all addresses, and {error}."]
    return (
        (Path(folder), [])
        if folder
        else (None, [f"No peers: {' and '.join(PEERS)} name no folder with their programs."])
    )


class _Run:
    """One run; `stack` ends what it starts."""

    def __init__(
        self, plan: Plan, machine: Machine, rack: Rack, client: LoadClient, stack: ExitStack
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._rack = rack
        self._client = client
        self._stack = stack
        self._notes: list[str] = []

    def results(self, peers: Path | None, notes: Sequence[str]) -> Results:
        """Start everything, measure, and return what was found."""
        self._notes += notes
        recorded, generated = self._recorded(), [pods.pod_of_size(size << 10) for size in SIZES]
        reviews = [
            self._review("recorded", recorded),
            self._review("no two alike", pods.numbered(recorded)),
        ]
        reviews += [
            self._review(f"{size} KiB", pods.review_of(pod))
            for size, pod in zip(SIZES, generated, strict=True)
        ]
        plane = self._control_plane()
        started = self._servers(plane, peers, reviews[0])
        figures, loaded = self._per_core(started, reviews)
        through = None
        if plane is not None:
            constant = self._constant(started[0], reviews[0].file.read_bytes())
            # Beside ours, so that little time lies between their turns.
            lanes = [started[0], constant, *started[1:]]
            through = self._through(plane, lanes, recorded, generated)
        starts = self._starts()
        end = per_core.memory(started)
        return Results(
            machine=self._machine,
            titles={server.name: server.title for server in started},
            repeats=self._plan.per_core.repeats if self._plan.per_core else 0,
            connections=per_core.CONNECTIONS,
            tls=sorted(self._client.tls),
            sizes={review.name: review.size for review in reviews},
            per_core=figures,
            memory={name: MemoryUse(loaded[name], end[name]) for name in loaded},
            start=starts,
            api_server=through,
            notes=self._notes,
        )

    def _per_core(
        self, started: Sequence[Server], reviews: Sequence[Review]
    ) -> tuple[dict[str, dict[str, Sample]], Mapping[str, Memory]]:
        """Measure the servers alone; returns what they hold afterwards, too."""
        turns = self._plan.per_core
        if turns is None:
            return {}, {}
        figures = per_core.measure(self._rack, started, reviews, self._client, turns)
        return figures, per_core.memory(started)

    def _recorded(self) -> pods.Manifest:
        found = pods.recorded_review()
        if found is not None:
            return found
        self._notes.append(
            f"`recorded` is a generated review of the same size: {pods.SAMPLES} names no folder with the "
            "recorded one."
        )
        return pods.equivalent_review()

    def _review(self, name: str, review: pods.Manifest) -> Review:
        content = pods.compact(pods.with_own_volumes(review))
        file = self._rack.folder / f"review-{name.replace(' ', '-')}.json"
        file.write_bytes(content)
        return Review(name, file, len(content), pods.SERIAL if pods.SERIAL.encode() in content else "")

    def _control_plane(self) -> ControlPlane | None:
        binaries = api_server.find_programs()
        if isinstance(binaries, Missing):
            if self._plan.per_core is None:
                raise ValueError(f"nothing through an API server: {binaries}")
            self._notes.append(f"Nothing through an API server, and no peers, which need one: {binaries}.")
            return None
        report("starting the control plane")
        return self._stack.enter_context(api_server.control_plane(binaries))

    def _servers(self, plane: ControlPlane | None, folder: Path | None, review: Review) -> list[Server]:
        """Start ours, the floors with our answer, and the peers, each on the server's core."""
        rack, content = self._rack, review.file.read_bytes()
        mine = self._start(servers.ours(rack))
        programs = servers.floor_programs(rack, rack.ready(mine, content))
        if plane is not None:
            peers = servers.peer_programs(rack, plane, folder) if folder else []
            with plane.client() as api:
                api_server.prepare(api, [mine.name, *(program.name for program in peers)])
            programs += peers
        started = [mine, *map(self._start, programs)]
        for server in started[1:]:
            rack.ready(server, content)
        return started

    def _start(self, program: Program) -> Server:
        server = self._rack.prepare(program)
        with running_on({self._rack.cores.server}):
            self._stack.enter_context(server.process)
        return server

    def _constant(self, mine: Server, review: bytes) -> Server:
        answer = self._rack.ready(mine, review)
        constant = self._start(servers.constant_program(self._rack, answer))
        if self._rack.ready(constant, review) != answer:
            raise ValueError(f"{constant.title}: the answer is not that of {mine.title}, byte for byte")
        return constant

    def _through(
        self,
        plane: ControlPlane,
        started: Sequence[Server],
        recorded: pods.Manifest,
        generated: Sequence[pods.Manifest],
    ) -> ApiServer:
        pod = pods.manifest_of(recorded)
        webhooks = [server for server in started if server.mark]
        with plane.client() as api:
            api_server.check_pods(api, [pods.manifest_of(pods.review_of(each)) for each in generated])
            lanes = open_lanes(api, webhooks, self._rack.ca_pem, pod, self._rack.folder)
        figures = api_server.measure(plane, lanes, self._client, self._plan.api_server)
        self._notes += _failures(figures)
        return figures

    def _starts(self) -> list[float]:
        report("start to ready")
        program = servers.ours(self._rack)
        return [self._rack.start_seconds(self._rack.prepare(program)) for _ in range(self._plan.starts)]


def _failures(figures: ApiServer) -> list[str]:
    failures = {
        name: figures.burst[name].failures
        + sum(by_name[name].failures for by_name in figures.creates.values())
        for name in figures.titles
    }
    return [
        f"{count} creates through {name} failed: the API server could not call it."
        for name, count in failures.items()
        if count
    ]
