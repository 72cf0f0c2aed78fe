"""A set of namespaces with a first process, whose end is the end of everything inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.nodes import pid1
from tests.cluster.processes import Process

ROOT = Path(__file__).parents[3]
NEEDED = ("nsenter", "unshare", "setpriv", "mount", "ip", "iptables")
"""Programs that it takes to make and enter namespaces, and to set them up."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GO = {"GOGC": "off", "GOMEMLIMIT": "200MiB"}
"""For the Go programs inside (kubelet, containerd, and what that starts: runc, CNI plugins): as LAZY_GC, with
less memory, since each node has several that live long."""


class CommandError(RuntimeError):
    """A command inside ended with another status than 0; the text is what it said."""


class Sandbox:
    """Namespaces, from `with` to the end of its block: a machine, or what holds several.

    `script` sets them up. With `outer` they are made inside another sandbox, where `netns` names the network
    namespace to use; else that is a new one too. Files that it writes are in `folder`. Start it in a thread
    that lives as long as it should. Raises ProcessError where the script fails.
    """

    def __init__(
        self, name: str, script: str, folder: Path, *, outer: Sandbox | None = None, netns: str = ""
    ) -> None:
        self.name = name
        self.folder = folder
        self._script = script
        self._outer = outer
        self._netns = netns
        self._exit = ExitStack()
        self._prefix: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        script, ready = self.folder / f"{self.name}.sh", self.folder / f"{self.name}.ready"
        script.write_text(self._script, encoding="utf-8")
        ready.unlink(missing_ok=True)
        first = [sys.executable, "-I", "-S", pid1.__file__, str(script), str(ready)]
        argv = [*self._unshare(), *first]
        process = Process(self.name, argv, log=self.folder / f"{self.name}.log", env=_environment())
        with ExitStack() as stack:
            stack.enter_context(process)
            process.wait_until(ready.exists, f"end of {script}", 60)
            # nsenter and unshare each wait for a child; the last one is the first process.
            pid = _child_of(_child_of(process.pid) if self._outer else process.pid)
            self._prefix = _entering(pid)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What begins the command line of a program that runs inside."""
        return self._prefix

    def process(
        self,
        name: str,
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Make a process that runs inside; `argv[0]` is an absolute path."""
        return Process(
            name,
            [*self.prefix, *argv],
            log=self.folder / f"{name}.log",
            env={**_environment(), **(env or {})},
            pass_fds=pass_fds,
        )

    def run(self, *argv: str | Path, data: str = "", timeout: float = 60.0) -> str:
        """Run a command inside to its end; returns its output. Raises CommandError."""
        done = subprocess.run(
            [*self.prefix, *map(str, argv)],
            input=data,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **_environment()},
        )
        if done.returncode != 0:
            said = f"status {done.returncode}: {done.stderr}{done.stdout}"
            raise CommandError(f"{self.name}: {' '.join(map(str, argv))}: {said}")
        return done.stdout

    def _unshare(self) -> list[str]:
        kinds = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc"]
        if self._outer is None:
            return [program("unshare"), "--net", *kinds]
        enter = [program("nsenter"), f"--net=/run/netns/{self._netns}"]
        return [*self._outer.prefix, *enter, program("unshare"), *kinds]


def program(name: str) -> str:
    """Find a program of the system, also where PATH is a user's."""
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: `make system` says which package has it")
    return str(Path(found).absolute())


def _entering(pid: int) -> tuple[str, ...]:
    # The child that nsenter makes ends with nsenter, which the kernel ends with the tests.
    kinds = ("--mount", "--net", "--pid", "--uts", "--ipc")
    return (program("nsenter"), f"--target={pid}", *kinds, program("setpriv"), "--pdeathsig=KILL")


def _environment() -> dict[str, str]:
    path = os.environ.get("PATH", "")
    return {"PATH": f"{path}:{SYSTEM_PATH}", "PYTHONPATH": str(ROOT), **GO}


def _child_of(parent: int) -> int:
    """Find the one child of a process (proc(5): the second field after the name in `stat`)."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            children.append(int(folder.name))
    (child,) = children
    return child
