"""The machine and the versions: figures without them mean nothing."""

from __future__ import annotations

import os
import platform
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.common.settling import busy_for

QUIET = 0.1
"""Share of all cores' time below which nothing else of note runs."""
LOOK = 2.0
"""Seconds for which that is looked at. The load average counts what has ended a moment before, too."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What it was measured on; `busy` is the share of all cores' time that others took before the run."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    system: str
    python: str
    openssl: str
    libraries: dict[str, str]
    busy: float

    @property
    def quiet(self) -> bool:
        """Whether nothing else of note ran before."""
        return self.busy < QUIET

    def describe(self) -> str:
        """Say it in two lines of text."""
        libraries = ", ".join(f"{name} {version}" for name, version in self.libraries.items())
        quiet = "quiet" if self.quiet else "NOT quiet: other programs ran, the figures are only a hint"
        return (
            f"Machine: {self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.system}, "
            f"{self.kernel}; CPU in use before: {self.busy:.0%} ({quiet}).\n"
            f"Versions: {self.python}, {self.openssl}, {libraries}."
        )


def this_machine(libraries: Iterable[str], warn: Callable[[str], None]) -> Machine:
    """Read it from the system, and the versions of these libraries; `warn` is told where it is not quiet."""
    found = Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 0,
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        kernel=f"{platform.system()} {platform.release()}",
        system=_system(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        openssl=ssl.OPENSSL_VERSION,
        libraries={library: version(library) for library in libraries},
        busy=busy_for(LOOK),
    )
    if not found.quiet:
        warn(f"the machine is not quiet: other programs use {found.busy:.0%} of its CPU")
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown"
