"""Building programs from the committed go.mod and go.sum into the cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from tests.cluster.tools.binaries import BUILD_ENV, Tool

REPORT_EVERY = 30.0
"""Seconds between two lines that say that a build goes on."""


class BuildError(RuntimeError):
    """A program could not be built; the text says why and what to do."""


def build(tools: Sequence[Tool]) -> None:
    """Build programs one by one; what another process builds meanwhile is waited for and used.

    Raises BuildError where Go is missing or a build fails.
    """
    go = shutil.which("go")
    if go is None:
        names = ", ".join(tool.name for tool in tools)
        raise BuildError(f"missing: {names}; and so is Go, which builds them: install Go (https://go.dev/dl)")
    for tool in tools:
        target = tool.built()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_suffix(".lock"), tool):
            if not target.is_file():
                _build(go, tool, target)


def _build(go: str, tool: Tool, target: Path) -> None:
    report_progress(
        f"building {tool.name} {tool.module.version} (the first time takes minutes) into {target.parent}"
    )
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    began = time.monotonic()
    try:
        status = _run(go, tool, unfinished, began)
        if status != 0:
            command = "tool" if tool.arguments else "build"
            raise BuildError(
                f"{tool.name} was not built: `go {command}` ended with status {status} in "
                f"{tool.module.folder}; its message is above (Go must be as new as go.mod says, "
                "and reach a module proxy)"
            )
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    report_progress(f"built {tool.name} in {time.monotonic() - began:.0f} s")


def _run(go: str, tool: Tool, target: Path, began: float) -> int:
    # Go's own lines (what it downloads, what went wrong) go to stderr as they come.
    flags = [*tool.module.flags, "-ldflags", tool.module.ldflags, "-o", str(target)]
    argv = (
        [go, "tool", tool.package, *tool.arguments] if tool.arguments else [go, "build", *flags, tool.package]
    )
    with ExitStack() as stack:
        output = stack.enter_context(target.open("wb")) if tool.arguments else sys.stderr
        process = stack.enter_context(
            subprocess.Popen(argv, cwd=tool.module.folder, env={**os.environ, **BUILD_ENV}, stdout=output)
        )
        return _watch(process, tool, began)


def _watch(process: subprocess.Popen[bytes], tool: Tool, began: float) -> int:
    try:
        while True:
            try:
                return process.wait(REPORT_EVERY)
            except subprocess.TimeoutExpired:
                report_progress(f"still building {tool.name}: {time.monotonic() - began:.0f} s so far")
    except BaseException:
        process.kill()
        raise


@contextmanager
def _lock(path: Path, tool: Tool) -> Iterator[None]:
    with path.open("w") as file:
        if not _try_lock(file):
            report_progress(f"{tool.name} is being built by another process: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def report_progress(line: str) -> None:
    """Report progress on stderr."""
    print(f"tools: {line}", file=sys.stderr, flush=True)
