"""Compares how long honest peers wait with and without an attack beside them: `python -m tests.under_attack`.

Webhook and node agent run at the chart's memory limits. Both cases are measured in turn in one run, so that
the machine is the same. It ends with 1 if a median is more than twice as long under an attack. Tests count
work and outcomes (tests/webhook/server/test_limits.py, tests/ipagent/node/sessions/test_flood.py).
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.cluster.waiting import wait_for
from tests.cluster.webhook import WebhookServer
from tests.ipagent.node.sessions import test_flood as flood
from tests.memory_cgroup import memory_cgroup, usable
from tests.webhook.server import test_limits as limits
from tests.webhook.server.strange_requests import GOOD
from tests.webhook.wire import Connection, head
from webhook.server.body import DECODE_RATE, MAX_BODY

ROUNDS = 3
ASKED = 100
"""Honest requests in each round, with and without the attack."""
MOST = 2.0

Ask = Callable[[], object]
Attack = Callable[[ExitStack], None]


@dataclass(frozen=True, slots=True)
class Result:
    """Medians in seconds."""

    name: str
    quiet: float
    attacked: float

    @property
    def passed(self) -> bool:
        """Whether the attack has made honest peers wait at most twice as long."""
        return self.attacked <= MOST * self.quiet

    def __str__(self) -> str:
        times = (
            f"{self.quiet * 1000:8.2f} ms {self.attacked * 1000:8.2f} ms {self.attacked / self.quiet:6.2f}"
        )
        return f"{self.name:46} {times}{'' if self.passed else '  TOO LONG'}"


def compare(name: str, ask: Ask, attack: Attack, count: int = ASKED) -> Result:
    """Measure in turn, after one request that nobody counts."""
    ask()
    quiet: list[float] = []
    attacked: list[float] = []
    for _ in range(ROUNDS):
        quiet += measure(ask, count)
        with ExitStack() as stack:
            attack(stack)
            attacked += measure(ask, count)
    return Result(name, statistics.median(quiet), statistics.median(attacked))


def measure(ask: Ask, count: int) -> list[float]:
    """Return the seconds that each request takes."""
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        ask()
        found.append(time.perf_counter() - begun)
    return found


def webhook_attacks(server: WebhookServer) -> dict[str, Attack]:
    """Return those that go on while honest reviews are sent."""
    # Each time from another address: the webhook would refuse one that connects so often.
    sources = (f"127.0.2.{number}" for number in itertools.count(1))
    slow = head(b"Content-Length: %d" % MAX_BODY) + b" " * 1024

    def idle(stack: ExitStack) -> None:
        source = next(sources)
        for _ in range(400):
            with suppress(OSError):
                limits.connect(stack, server, source)

    def slow_bodies(stack: ExitStack) -> None:
        source = next(sources)
        for _ in range(64):
            stack.enter_context(Connection(server, source=source)).send(slow)

    def large_reviews(stack: ExitStack) -> None:
        large = GOOD + b" " * (MAX_BODY - len(GOOD))
        source = next(sources)
        answers: list[object] = []

        def ask(connection: Connection) -> bool:
            answers.append(connection.ask(large))
            return answers[-1] is not None

        for _ in range(3):
            connection = stack.enter_context(Connection(server, source=source))
            stack.enter_context(repeated(partial(ask, connection)))
        # What may come at once has come: from now on the rates hold, for as long as the flood lasts.
        wait_for(lambda: len(answers) > DECODE_RATE.burst // MAX_BODY, "the end of the burst")

    def handshakes(stack: ExitStack) -> None:
        source = next(sources)
        for _ in range(64):
            with suppress(OSError):
                limits.connect(stack, server, source).sendall(b"\x16\x03\x01\x02\x00")

    return {
        "webhook: 400 idle connections": idle,
        "webhook: 64 slow large bodies": slow_bodies,
        "webhook: large reviews without end": large_reviews,
        "webhook: 64 handshakes that do not end": handshakes,
    }


@contextmanager
def repeated(step: Callable[[], object]) -> Iterator[None]:
    """Repeat a step in a thread for the length of a block, until it fails."""
    stop = threading.Event()

    def work() -> None:
        # The block's end closes its connection.
        with suppress(OSError, ValueError):
            while not stop.is_set() and step():
                pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def main() -> int:
    """Print a table; returns the exit code."""
    results = []
    print(f"{'honest peers wait (median)':46} {'quiet':>11} {'attacked':>11} {'times':>6}", flush=True)

    def add(result: Result) -> None:
        results.append(result)
        print(result, flush=True)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cgroup = stack.enter_context(memory_cgroup(limits.chart_limit())) if usable() else None
        launcher = cgroup.launcher if cgroup else ()
        server = stack.enter_context(WebhookServer(folder, options=["--metrics-port=0"], launcher=launcher))
        pooled = stack.enter_context(Connection(server, source=limits.API_SERVER))
        for name, attack in webhook_attacks(server).items():
            add(compare(name, lambda: pooled.ask(GOOD), attack, 3 * ASKED))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = stack.enter_context(flood.running_agent(folder))
        for act in (flood.idle_connections, flood.blank_lines, flood.unfinished_statements):
            name = f"node agent: {act.__name__.replace('_', ' ')}"
            add(compare(name, Patient(agent).ask, partial(act, agent)))
    return 0 if all(each.passed for each in results) else 1


class Patient:
    """Asks the node agent as one pod after another: each has five statements and one connection a second."""

    def __init__(self, agent: flood.Agent) -> None:
        self._agent = agent
        self._asked = 0

    def ask(self) -> None:
        """Connect, claim and wait for the status."""
        self._asked += 1
        pod = flood.OTHERS[self._asked % len(flood.OTHERS)]
        self._agent.serves(pod, source=f"127.3.{self._asked // 250}.{self._asked % 250 + 1}")


if __name__ == "__main__":
    sys.exit(main())
