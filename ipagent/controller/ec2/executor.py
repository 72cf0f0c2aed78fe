"""Makes calls in threads of its own and passes the answers on, so that a slow call delays no other.

Thread: `start` is the loop's; answers are taken by the loop from `answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from ipagent.controller.model.actions import Call, ListPods
from ipagent.controller.reconcile.call_rate_limiter import MAX_IN_FLIGHT
from ipagent.controller.reconcile.ec2_answers import Answer, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind

Maker = Callable[[Call], Answer]


class Executor:
    """`ec2` makes calls to EC2, `pods` lists pods; `may` is asked before each call whether we still lead."""

    def __init__(
        self,
        ec2: Maker,
        pods: Callable[[ListPods], Answer],
        may: Callable[[], bool],
        notify: Callable[[], None],
    ) -> None:
        self.answers: SimpleQueue[tuple[Call, Answer]] = SimpleQueue()
        self._ec2 = ec2
        self._pods = pods
        self._may = may
        self._notify = notify
        self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="calls")

    def start(self, call: Call) -> None:
        """Make a call; its answer comes through `answers`."""
        self._pool.submit(self._work, call)

    def close(self) -> None:
        """Let calls that are on their way end, and start no more."""
        self._pool.shutdown(cancel_futures=True)

    def _work(self, call: Call) -> None:
        answer: Answer = Refused(Kind.TRANSIENT, "", "this replica does not lead any more")
        try:
            if self._may():
                answer = self._pods(call) if isinstance(call, ListPods) else self._ec2(call)
        except Exception as error:  # noqa: BLE001 - a call without an answer would never be made again
            answer = Refused(Kind.OTHER, (*call.actions, "")[0], f"{type(error).__name__}: {error}")
        self.answers.put((call, answer))
        self._notify()
