"""The loop: what it does when reads are slow, somebody quarrels, or the API server is away."""

from __future__ import annotations

import dataclasses
import json
from random import Random

import pytest

from certs.controller import BURST, RESYNC, SLOW, WINDOW, pause_before_write
from common.kube.backoff import MAX_PAUSE
from common.kube.errors import Unreachable
from tests.certs.simulation import DAY, SETTINGS, Instance, Simulation

pytestmark = pytest.mark.pure


def calm(instances: int = 1) -> Simulation:
    """A cluster in order, in which nothing goes wrong."""
    simulation = Simulation(Random(0), instances)
    simulation.calm = True
    simulation.run(SETTINGS.propagation + DAY, damage=False)
    assert simulation.settled()
    return simulation


def events(simulation: Simulation, event: str, instance: int = 0) -> list[dict[str, object]]:
    lines = simulation.instances[instance].log.getvalue().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def rotate(simulation: Simulation, instance: Instance) -> None:
    """Have one process alone replace CA and leaf."""
    simulation.world.put_secret({**simulation.world.data(), "ca.key": b""}, ours=False)
    instance.loop.wake()
    instance.due = simulation.world.time
    end = simulation.world.time + 2 * SETTINGS.propagation + 100
    while instance.due < end:
        simulation.world.advance(max(0.0, instance.due - simulation.world.time))
        instance.turn()
        simulation.check()


def test_a_process_that_stalls_between_its_reads_drops_no_ca_of_another() -> None:
    simulation = calm(2)
    slow, other = simulation.instances
    reads = 0

    def stall(what: str) -> None:
        """Between the two reads of the slow process the other one rotates CA and leaf."""
        nonlocal reads
        reads += what == "read"
        if reads == 2 and not other.busy:
            reads += 1
            rotate(simulation, other)

    simulation.between = stall  # type: ignore[method-assign] # the stall in question
    slow.loop.wake()
    slow.turn()
    assert simulation.world.bundles()
    for _ in range(4):
        slow.turn()
        simulation.check()


def test_a_process_that_stalls_before_its_write_undoes_nothing() -> None:
    """It decided on a caBundle that another process has replaced since, with a whole rotation."""
    simulation = calm(2)
    slow, other = simulation.instances
    stalled = False

    def stall(what: str) -> None:
        nonlocal stalled
        if what != "write" or stalled:
            return
        stalled = True
        rotate(simulation, other)

    simulation.between = stall  # type: ignore[method-assign] # the stall in question
    simulation.world.put_bundles({simulation.world.entries[0]: b"junk"}, ours=False)
    slow.loop.wake()
    slow.turn()
    assert stalled
    assert len(events(simulation, "conflict")) == 1
    simulation.check()
    simulation.world.advance(SETTINGS.api_propagation + 1)
    assert simulation.settled()


@pytest.mark.parametrize("jump", [3650 * DAY, -3650 * DAY])
def test_a_wrong_clock_here_changes_nothing(jump: float) -> None:
    simulation = calm()
    before = simulation.world.version
    simulation.instances[0].skew = jump
    simulation.run(10 * DAY, damage=False)
    assert simulation.world.version == before


def test_without_the_servers_time_the_clock_here_counts() -> None:
    simulation = calm()
    simulation.world.tells_time = False
    instance = simulation.instances[0]
    instance.skew = 41 * DAY
    instance.loop.wake()
    instance.turn()
    assert events(simulation, "wrote")[-1]["action"] == "IssueLeaf"


def test_it_asks_nobody_while_nothing_changes() -> None:
    simulation = calm()
    instance = simulation.instances[0]
    instance.loop.tick = 60.0
    instance.loop.wake()
    instance.turn()
    before = simulation.world.requests
    simulation.run(RESYNC - 120, damage=False)
    assert simulation.world.requests == before


def test_it_looks_again_now_and_then_without_being_told() -> None:
    simulation = calm()
    instance = simulation.instances[0]
    instance.loop.tick = 60.0
    instance.loop.wake()
    instance.turn()
    simulation.world.put_secret(None, ours=False)
    simulation.run(RESYNC - 120, damage=False)
    assert simulation.world.secret is None
    simulation.run(300, damage=False)
    assert simulation.world.secret is not None


def test_writes_are_paced_while_somebody_keeps_undoing_them() -> None:
    """Somebody empties caBundle whenever it is written."""
    simulation = calm()
    instance = simulation.instances[0]
    began, seconds = simulation.world.time, 200.0
    while simulation.world.time < began + seconds:
        simulation.world.put_bundles(dict.fromkeys(simulation.world.entries, b""), ours=False)
        instance.loop.wake()
        instance.due = simulation.world.time
        simulation.run(1.0, damage=False)
    writes = len([line for line in events(simulation, "wrote") if line["action"] == "UpdateCaBundle"])
    assert BURST < writes <= BURST + seconds / SLOW + 1
    assert events(simulation, "slowed_down")


def test_it_outlives_an_api_server_that_is_away() -> None:
    simulation = calm()
    instance = simulation.instances[0]
    away = True

    def between(what: str) -> None:
        if away:
            raise Unreachable(f"cannot {what}")

    simulation.between = between  # type: ignore[method-assign] # the outage in question
    instance.loop.wake()
    pauses = [instance.loop.turn() for _ in range(20)]
    assert max(pauses) <= MAX_PAUSE
    assert pauses[0] <= 1.0
    assert len(events(simulation, "failed")) == 20
    away = False
    simulation.world.put_bundles({}, ours=False)
    assert instance.loop.turn() > MAX_PAUSE


def test_other_names_get_another_leaf_at_once() -> None:
    simulation = calm()
    simulation.settings = dataclasses.replace(SETTINGS, names=frozenset({"other.system.svc"}))
    simulation.instances[0].start()
    before = simulation.world.data()
    simulation.instances[0].turn()
    after = simulation.world.data()
    assert (before["ca.crt"], before["tls.crt"] != after["tls.crt"]) == (after["ca.crt"], True)


@pytest.mark.parametrize(
    ("written", "now", "pause"),
    [
        ([], 0.0, 0.0),
        ([float(n) for n in range(BURST - 1)], BURST - 1.0, 0.0),
        ([float(n) for n in range(BURST)], BURST + 0.0, SLOW - 1),
        ([float(n) for n in range(BURST)], BURST + SLOW, 0.0),
        ([float(n) for n in range(BURST)], BURST + WINDOW - 5.0, 0.0),
    ],
)
def test_writes_are_paced(written: list[float], now: float, pause: float) -> None:
    assert pause_before_write(written, now) == pytest.approx(pause)
