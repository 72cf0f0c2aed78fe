"""Writes the entries of a queue to the API server, in the background; a failure affects nothing else.

Thread: one of its own runs `run`; the queue is used under `self.wake`.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Generic, TypeVar

from common.kube.backoff import MAX_PAUSE, REST, pause_after_failure
from common.kube.errors import ApiError, KubeError
from common.kube.write_backoff import LONGEST, WriteBackoff

Item = TypeVar("Item")
REMEMBERED = 1200.0
"""Seconds for which a failed write may wait for its turn: others hang before it, 3 s each or longer."""


class ApiWriter(threading.Thread, ABC, Generic[Item]):
    """A thread that writes what is due, from `start` to `stop`."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.wake = threading.Condition()
        self._stopping = False
        self._failures = 0
        self._failure = ""
        self._failed = WriteBackoff()

    @abstractmethod
    def key(self, item: Item) -> Hashable:
        """Return what waits for its next try, once the item has failed."""

    @abstractmethod
    def due(self) -> Item | float | None:
        """Return what to write now, or in how many seconds to ask again; None if nothing waits."""

    @abstractmethod
    def write(self, item: Item, patience: float | None) -> None:
        """Write it, and wait so many seconds, None for as long as the client does. Raises KubeError."""

    @abstractmethod
    def put_back(self, item: Item, until: float) -> None:
        """Put back what could not be written now; `until` then (monotonic seconds) others come first."""

    @abstractmethod
    def refused(self, item: Item, error: ApiError) -> bool:
        """Handle an answer that will not change; returns whether it is to be logged."""

    @abstractmethod
    def log_failure(self, message: str) -> None:
        """Write a log line; called once for each kind of failure in a row."""

    def stop(self) -> None:
        """End the thread, without what has not been written; join it afterwards."""
        with self.wake:
            self._stopping = True
            self.wake.notify()

    def run(self) -> None:
        """Write what is due."""
        while (item := self._next()) is not None:
            began = time.monotonic()
            self._failed.prune(began - REMEMBERED)
            try:
                self.write(item, self._failed.patience(self.key(item)))
            except KubeError as error:
                self._not_written(item, error, time.monotonic() - began)
            else:
                self._failures, self._failure = 0, ""
                self._failed.accept(self.key(item))

    def _not_written(self, item: Item, error: KubeError, took: float) -> None:
        if not isinstance(error, ApiError) or error.transient or not error.of_one_object:
            self._again(item, error, took)
        elif self.refused(item, error):
            self._log_once(error)

    def _next(self) -> Item | None:
        with self.wake:
            while not self._stopping:
                found = self.due()
                if found is not None and not isinstance(found, float):
                    return found
                self.wake.wait(found)
        return None

    def _again(self, item: Item, error: KubeError, took: float) -> None:
        self._log_once(error)
        until = self._next_try(item, error, took)
        with self.wake:
            self.put_back(item, until)
            if error.of_one_object:
                return
            self._failures += 1
            if not self._stopping:
                self.wake.wait_for(
                    lambda: self._stopping,
                    pause_after_failure(self._failures, random.random()),  # noqa: S311 - no secret
                )

    def _next_try(self, item: Item, error: KubeError, took: float) -> float:
        """Return when to write it again. Silence, too, may be this one's: of a webhook, for example."""
        now = time.monotonic()
        if isinstance(error, ApiError) and not error.of_one_object:
            return now
        longest = LONGEST if isinstance(error, ApiError) else MAX_PAUSE
        chance = random.random()  # noqa: S311 - no secret
        # Once is a webhook that restarts, and a readiness gate may wait: what hangs again rests.
        rest = REST if error.of_one_object and self.key(item) in self._failed else 0.0
        return self._failed.refuse(self.key(item), now, chance, longest=longest, took=took, rest=rest)

    def _log_once(self, error: KubeError) -> None:
        kind = f"{type(error).__name__} {getattr(error, 'code', '')}"
        if kind != self._failure:
            self._failure = kind
            self.log_failure(f"{error}; addresses are assigned anyway")
