"""Writes the CNI configurations of networks of prefixes, and reads which addresses host-local has handed out.

A program that reads a folder while a configuration is written finds the former one or the new one, whole: it
is renamed into its place. The folder for host-local's state is on tmpfs, so that a power cut, after which no
pod is there any more, leaves no address behind.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ipagent.links.cni_config import FILE_PREFIX, FILE_SUFFIX, configuration, file_name
from ipagent.links.plan import LinkStatus
from ipagent.links.pool import IDLE_SECONDS, Pool, PoolReport, uses, worth_reporting
from ipagent.log import Log

RUNTIME_FOLDER = Path("/etc/cni/net.d")
"""Where container runtimes look for the cluster's own network: the first file by name."""
DATA = Path("/run/multus-eni-injector/cni")
WATCH_SECONDS = 0.2
"""Seconds between two looks at what host-local has handed out: free addresses go in a second or two."""
NOT_MOUNTED = (
    "the DaemonSet writes no CNI configurations: set nodeAgent.prefixes.enabled, or the NodeNetwork's "
    "addresses.mode to Assign"
)


@dataclass(slots=True)
class CniFiles:
    """The configurations of one node. `folder` is None where none may be written; `clock` is monotonic."""

    folder: Path | None
    clock: Callable[[], float]
    log: Log
    data: Path = DATA
    _reported: dict[str, tuple[PoolReport, float]] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    """When what was put off is reported."""
    _failures: dict[str, str] = field(default_factory=dict)

    def apply(self, pools: Mapping[str, tuple[Pool, LinkStatus]]) -> dict[str, PoolReport]:
        """Write the configurations and remove those of other networks; return the statuses.

        All mappings go by NodeAttachment.
        """
        found = {name: self._apply(pool, status) for name, (pool, status) in pools.items()}
        self._remove_others(pool.network for pool, _ in pools.values())
        self._due.clear()
        return {name: self._moderated(name, status) for name, status in found.items()}

    def reserved(self, network: str) -> frozenset[str] | None:
        """Return the names of host-local's files for a network; None if they can't be read."""
        try:
            return frozenset(each.name for each in (self.data / network).iterdir())
        except FileNotFoundError:
            # The first pod makes the network's folder; the node's is there, unless the volume is missing.
            return frozenset() if self.data.parent.is_dir() else None
        except OSError:
            return None

    def retry_in(self) -> float | None:
        """Return the seconds until a report is due that was put off; None if there is none."""
        return max(0.0, min(self._due.values()) - self.clock()) if self._due else None

    def _apply(self, pool: Pool, link: LinkStatus) -> PoolReport:
        if self.folder is None:
            # What pods have is not known: nothing is said of the prefixes, and so none is taken away.
            return PoolReport("", NOT_MOUNTED if pool.families else "")
        path = self.folder / file_name(pool.network)
        # By the kernel's name of it: not each plugin knows alternative ones.
        text = configuration(pool, link.name, str(self.data)) if link.name else None
        message = ""
        if text is not None:
            message = self._runtime_waits(path) or self._write(path, text)
        elif path.exists():
            self._unlink(path)
        offered = text is not None and not message
        # Read after the configuration has been written: who began with the former one is counted soon.
        reserved = self.reserved(pool.network)
        if reserved is None:
            return PoolReport(
                "", f"{self.data} can't be read, so the addresses of pods are not known: mount it"
            )
        return PoolReport(str(path) if offered else "", message, uses(pool, reserved, offered=offered))

    def _runtime_waits(self, path: Path) -> str:
        """Return why a file must not be written: alone in the runtime's folder it is all pods' network."""
        if path.parent != RUNTIME_FOLDER:
            return ""
        before = [
            each for each in _listed(path.parent) if each < path.name and not each.startswith(FILE_PREFIX)
        ]
        if any(each.endswith((".conf", ".conflist", ".json")) for each in before):
            return ""
        return (
            f"{path.parent} has no other network yet: this one would become the default network of all pods"
        )

    def _write(self, path: Path, text: str) -> str:
        """Write a file unless it is there already; returns why that failed, empty if it did not."""
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text(encoding="utf-8") == text:
                return ""
        new = path.with_name(f".{path.name}.new")
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                # After a power cut an empty file would keep Multus from reading the other ones.
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            failure = f"{path} can't be written: {error.strerror}; correct nodeAgent.prefixes.cniConfDir"
            if self._failures.get(path.name) != failure:
                self._failures[path.name] = failure
                self.log.warning("cni-failed", message=failure)
            return failure
        self._failures.pop(path.name, None)
        self.log.info("cni-written", message=f"{path} is written")
        return ""

    def _remove_others(self, networks: Iterable[str]) -> None:
        if self.folder is None:
            return
        known = set(map(file_name, networks))
        for name in _listed(self.folder):
            if name.startswith(FILE_PREFIX) and name.endswith(FILE_SUFFIX) and name not in known:
                self._unlink(self.folder / name)

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink()
        except OSError as error:
            self.log.warning("cni-failed", message=f"{path} can't be removed: {error.strerror}")
        else:
            self.log.info("cni-removed", message=f"{path} is removed")

    def _moderated(self, name: str, status: PoolReport) -> PoolReport:
        """Return what was reported last while it says enough, so that not each pod's start is a write."""
        now = self.clock()
        before, at = self._reported.get(name, (None, now))
        if before == status:
            return status
        if before is not None and now - at < IDLE_SECONDS and not worth_reporting(before, status):
            self._due[name] = at + IDLE_SECONDS
            return before
        self._reported[name] = (status, now)
        return status


class ReservationWatcher(threading.Thread):
    """Calls `notify` when pods have got or given back addresses. Thread: its own; `networks` is any's."""

    def __init__(self, files: CniFiles, notify: Callable[[], None]) -> None:
        super().__init__(name="reservations", daemon=True)
        self.networks: tuple[str, ...] = ()
        self._files = files
        self._notify = notify
        self._end = threading.Event()

    def run(self) -> None:
        """Look every WATCH_SECONDS."""
        seen: Mapping[str, frozenset[str] | None] = {}
        while not self._end.wait(WATCH_SECONDS):
            found = {network: self._files.reserved(network) for network in self.networks}
            if found != seen:
                seen = found
                self._notify()

    def stop(self) -> None:
        """End soon."""
        self._end.set()


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:
        return []
