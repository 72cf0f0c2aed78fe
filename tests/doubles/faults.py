"""Faults that a test puts into EC2: an error instead of the effect, an answer that comes late."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from tests.doubles.actions import ACTIONS
from tests.doubles.document import Node
from tests.doubles.refusals import Ec2Error

MAX_DELAY_MS = 600_000


@dataclass(frozen=True)
class Fault:
    """What befalls calls of one EC2 action, or of all (`*`).

    `error` is an EC2 error code that is answered in place of any effect, with `message` and `status`
    (default: EC2's status for that code). `delay_ms` holds the answer back: after the effect, if there is
    no error.
    `times` is how many calls it befalls, None for all.
    """

    action: str = "*"
    error: str | None = None
    message: str = "An injected fault."
    status: int | None = None
    delay_ms: int = 0
    times: int | None = None

    def raise_error(self) -> None:
        """Raise the `Ec2Error` to answer, if there is one."""
        if self.error is not None:
            raise Ec2Error(self.error, self.message, self.status)


NO_FAULT = Fault()


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
        """Give the faults in force, with the calls that they have left."""
        with self._lock:
            return self._faults

    def take(self, action: str) -> Fault:
        """Give the fault that befalls this call."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.action in ("*", action):
                    self._faults = (*self._faults[:index], *_once_less(fault), *self._faults[index + 1 :])
                    return fault
        return NO_FAULT


def _once_less(fault: Fault) -> tuple[Fault, ...]:
    if fault.times is None:
        return (fault,)
    return (replace(fault, times=fault.times - 1),) if fault.times > 1 else ()


def read_faults(node: Node) -> tuple[Fault, ...]:
    """Read `{"faults": [{"action": …, "error": …, …}]}`; raises DocumentError that names the key."""
    return tuple(_read(item) for item in node.mapping(required=("faults",))["faults"].items())


def _read(node: Node) -> Fault:
    keys = node.mapping(required=("action",), optional=("error", "message", "status", "delay_ms", "times"))
    fault = Fault(action=keys["action"].choice(("*", *ACTIONS)))
    if "error" in keys:
        fault = replace(fault, error=keys["error"].text(r"[A-Za-z.]+", "an EC2 error code"))
    if "message" in keys:
        fault = replace(fault, message=keys["message"].text())
    if "status" in keys:
        fault = replace(fault, status=keys["status"].integer(400, 599))
    if "delay_ms" in keys:
        fault = replace(fault, delay_ms=keys["delay_ms"].integer(0, MAX_DELAY_MS))
    if "times" in keys:
        fault = replace(fault, times=keys["times"].integer(1, 1_000_000))
    if fault.error is None and not fault.delay_ms:
        node.refuse("needs an error, a delay_ms, or both")
    return fault


def fault_document(fault: Fault) -> dict[str, object]:
    """Write a fault as it is read."""
    return {key: value for key, value in asdict(fault).items() if value is not None}
