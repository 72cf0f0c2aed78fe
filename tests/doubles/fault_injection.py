"""Faults that a test puts into EC2 and IMDS: what befalls a call on its way, before or after its effect."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from tests.doubles.ec2.actions import ACTIONS

EVERY_ACTION = "*"
EVERY_MUTATION = "mutating"
IMDS, IMDS_TOKEN, IMDS_METADATA = "imds", "imds:token", "imds:metadata"


class Connection(StrEnum):
    """What becomes of the connection in place of an answer."""

    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True)
class Fault:
    """What befalls calls of one EC2 action, of all (`*`), of all but the Describe actions (`mutating`), or of
    IMDS (`imds`, `imds:token`, `imds:metadata`).

    `error` is an EC2 error code that is answered, with `message` and `status` (default: EC2's for that code);
    `status` alone answers with that HTTP status and no EC2 document. `connection` gives no answer: it is
    reset, or hangs until the caller gives up. With these the call has no effect, unless `effect` is true:
    then it has taken place when the error, the reset or the silence comes. `kill_pid` is the caller's
    process, which is killed (SIGKILL) before the call has an effect, or after it with `effect`; there is no
    answer.
    `delay_ms` holds the answer back, or what comes in its place; `effect_delay_ms` the effect too, which
    comes even if the caller has given up by then. `stale_ms` is for IMDS: it shows interfaces and addresses
    of so long ago, beyond the world's own delay.
    `skip` is how many calls pass first, `times` how many it befalls then, None for all. `caller` (a source
    address) and `path` (of an IMDS request) are patterns with * and ? and restrict it further.
    """

    action: str = EVERY_ACTION
    error: str | None = None
    message: str = "An injected fault."
    status: int | None = None
    delay_ms: int = 0
    times: int | None = None
    connection: Connection | None = None
    kill_pid: int | None = None
    effect: bool = False
    stale_ms: int = 0
    effect_delay_ms: int = 0
    skip: int = 0
    caller: str = "*"
    path: str = "*"

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise ValueError(problem)

    @property
    def prevents(self) -> bool:
        """Whether the call has no effect."""
        return not self.effect and bool(self.error or self.status or self.connection or self.kill_pid)

    def fits(self, action: str, caller: str, path: str) -> bool:
        """Whether a call is one of those that it is for."""
        if action.startswith(IMDS):
            fits = self.action in (IMDS, action)
        elif self.action == EVERY_MUTATION:
            fits = not action.startswith("Describe")
        else:
            fits = self.action in (EVERY_ACTION, action)
        return fits and fnmatchcase(caller, self.caller) and fnmatchcase(path, self.path)


def _problem(fault: Fault) -> str | None:
    """Say what is contradictory about a fault."""
    imds = fault.action.startswith(IMDS)
    answers = bool(fault.error or fault.status)
    delays = bool(fault.delay_ms or fault.effect_delay_ms or fault.stale_ms)
    problems = {
        f"{fault.action!r} is no action of this double": not imds
        and fault.action not in (EVERY_ACTION, EVERY_MUTATION, *ACTIONS),
        "needs an error, a status, a connection, a kill_pid or a delay (delay_ms, effect_…, stale_ms)": (
            not (answers or fault.connection or fault.kill_pid or delays)
        ),
        "a caller that is killed gets no answer: kill_pid stands without error, status and connection": (
            fault.kill_pid and (answers or fault.connection)
        ),
        "kill_pid is a process id above 1": fault.kill_pid is not None and fault.kill_pid < 2,
        "a connection that is reset or hangs carries no error and no status": fault.connection and answers,
        "IMDS knows no EC2 error and no effect: use status, connection, delay_ms or stale_ms": imds
        and (fault.error or fault.effect or fault.effect_delay_ms or fault.kill_pid),
        "stale_ms and path are for IMDS": not imds and (fault.stale_ms or fault.path != "*"),
        "what has no effect has none to delay: set effect": fault.effect_delay_ms and fault.prevents,
    }
    return next((problem for problem, applies in problems.items() if applies), None)


class Faults:
    """The faults in force; the first that fits a call befalls it. Safe to change from another thread."""

    def __init__(self) -> None:
        self._faults: tuple[Fault, ...] = ()
        self._lock = threading.Lock()

    def put(self, faults: Iterable[Fault]) -> None:
        """Replace all faults."""
        with self._lock:
            self._faults = tuple(faults)

    def all(self) -> tuple[Fault, ...]:
        """Return the faults in force, with the calls that they have left."""
        with self._lock:
            return self._faults

    def take(self, action: str, caller: str, path: str = "") -> Fault | None:
        """Return the fault that befalls this call."""
        with self._lock:
            left: list[Fault] = []
            found: Fault | None = None
            for fault in self._faults:
                if found or not fault.fits(action, caller, path):
                    left.append(fault)
                elif fault.skip:
                    left.append(replace(fault, skip=fault.skip - 1))
                else:
                    found = fault
                    left += _once_less(fault)
            self._faults = tuple(left)
            return found


def _once_less(fault: Fault) -> tuple[Fault, ...]:
    if fault.times is None:
        return (fault,)
    return (replace(fault, times=fault.times - 1),) if fault.times > 1 else ()
