"""Applies the plan to the interfaces, and remembers failed changes.

What the kernel refuses is tried again after RETRY seconds. What something else undoes FIGHT times within
WINDOW seconds is left alone for RETRY seconds and reported: two programs that set one interface up and down
in turns would keep the node busy and its pods cut off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ipagent.links.kernel import describe, refusal
from ipagent.links.plan import Change, LinkPlan, LinkStatus, WantedLink, plan
from ipagent.log import Log
from ipagent.netlink.devices import Device

RETRY = 60.0
WINDOW = 60.0
FIGHT = 5
ROUNDS = 4
"""Readings at most for one call: a change may make another one possible, such as a name that is free now."""


class Kernel(Protocol):
    """The devices of a network namespace; see DeviceSocket."""

    def devices(self) -> list[Device]:
        """Return all devices."""
        ...

    def change(self, device: Device, change: Change) -> None:
        """Change a device; raises OSError as the kernel refuses."""
        ...


Key = tuple[str, Change]
"""MAC and change."""


@dataclass
class LinkSetter:
    """Sets up the interfaces of one network namespace. `clock` is monotonic, in seconds."""

    kernel: Kernel
    clock: Callable[[], float]
    log: Log
    _failures: dict[Key, tuple[str, float]] = field(default_factory=dict)
    _made: dict[Key, deque[float]] = field(default_factory=dict)

    def apply(self, wanted: Sequence[WantedLink]) -> list[LinkStatus]:
        """Set up all interfaces as far as it works, and return how they are; raises KernelError."""
        plans = self._plan(wanted)
        for _ in range(ROUNDS):
            pending = [each for each in plans if each.changes]
            if not pending:
                break
            for each in pending:
                self._carry_out(each)
            plans = self._plan(wanted)
        # An interface that a pod gives back (host-device) is down: nobody has undone anything.
        there = {each.wanted.mac for each in plans if each.status.name}
        self._made = {key: times for key, times in self._made.items() if key[0] in there}
        return [each.status for each in plans]

    def retry_in(self) -> float | None:
        """Return the seconds until something that failed is due again; None if nothing is."""
        due = [until for _, until in self._failures.values()]
        return max(0.0, min(due) - self.clock()) if due else None

    def _plan(self, wanted: Sequence[WantedLink]) -> list[LinkPlan]:
        now = self.clock()
        self._failures = {key: (text, until) for key, (text, until) in self._failures.items() if until > now}
        failures = {key: text for key, (text, _) in self._failures.items()}
        return plan(wanted, self.kernel.devices(), failures)

    def _carry_out(self, planned: LinkPlan) -> None:
        """Make the changes of one interface up to the first that fails: the next one may rest on it."""
        for device, change in planned.changes:
            key = (planned.wanted.mac, change)
            if self._undone(key):
                text = (
                    f"{describe(change)} of {device.name} was undone {FIGHT} times within {WINDOW:.0f} s: "
                    "another program manages the interface; exclude it there"
                )
                self._fail(key, text)
                return
            try:
                self.kernel.change(device, change)
            except OSError as error:
                self._fail(key, refusal(device, change, error))
                return
            self._made.setdefault(key, deque(maxlen=FIGHT)).append(self.clock())
            self.log.info(
                "link-changed",
                link=device.name,
                mac=planned.wanted.mac,
                message=f"{planned.wanted.attachment}: {describe(change)} of {device.name}",
            )

    def _undone(self, key: Key) -> bool:
        times = self._made.get(key)
        return times is not None and len(times) == FIGHT and times[0] > self.clock() - WINDOW

    def _fail(self, key: Key, text: str) -> None:
        self._failures[key] = (text, self.clock() + RETRY)
        self.log.warning("link-failed", mac=key[0], message=text)
