"""Runs the demo in namespaces of its own, so that it needs no root and changes nothing on the host.

One user, network, mount and pid namespace holds everything; its first process ends it all. Root does without
the user namespace. Where /proc can't be mounted again (a container that hides parts of it), the pid namespace
is left out: then each process is killed by the kernel when the demo's own process ends.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.netns import NamespacesForbidden, kernel
from tests.netns.rights import explain

FORBIDDEN = 3
"""Exit code: the system allows no namespaces; the message says what to allow."""
_NO_PROC = 4

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_isolated(body: Callable[[Path], int]) -> int:
    """Run `body` with an empty folder in memory, inside the namespaces; returns its exit code.

    Processes, interfaces and files of `body` are gone when this returns. Raises NamespacesForbidden.
    """
    # Kept on the host's side only as a place to mount on.
    with tempfile.TemporaryDirectory(prefix="multus-eni-demo-") as folder:
        for pids in (kernel.CLONE_NEWPID, 0):
            code = _forked(partial(_outer, body, Path(folder), pids))
            if code != _NO_PROC:
                break
        if code == FORBIDDEN:
            raise NamespacesForbidden(Path(folder, "forbidden").read_text(encoding="utf-8"))
        return code


def _outer(body: Callable[[Path], int], folder: Path, pids: int) -> int:
    """Make the namespaces; a pid namespace begins with the next child."""
    namespaces = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | pids
    try:
        if os.geteuid() == 0:
            kernel.unshare(namespaces)
        else:
            kernel.new_user_namespace(0, also=namespaces)
        kernel.make_mounts_private()
        # A change of credentials may have cleared it.
        kernel.die_with_parent()
    except OSError as error:
        Path(folder, "forbidden").write_text(explain(error), encoding="utf-8")
        return FORBIDDEN
    return _forked(partial(_inner, body, folder, remount_proc=bool(pids)))


def _inner(body: Callable[[Path], int], folder: Path, *, remount_proc: bool) -> int:
    if remount_proc:
        try:
            kernel.mount("proc", "/proc", "proc")
        except OSError:
            return _NO_PROC
    kernel.mount("tmpfs", str(folder), "tmpfs", data="mode=700")
    tempfile.tempdir = str(folder)
    for number in _SIGNALS:
        signal.signal(number, _Interruption())
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return body(folder)
    except KeyboardInterrupt as interrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 128 + int(interrupt.args[0])


class _Interruption:
    """Raises KeyboardInterrupt once: what follows is the cleaning up, and a Ctrl-C arrives in many ways."""

    done = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if not _Interruption.done:
            _Interruption.done = True
            raise KeyboardInterrupt(number)


def _forked(body: Callable[[], int]) -> int:
    """Run `body` in a child that ends with us; hand signals on to it, return its exit code.

    The child begins with the signals blocked, so that none arrives before it is ready for them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    pid = os.fork()
    if pid == 0:
        _become(body)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    previous = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _become(body: Callable[[], int]) -> NoReturn:
    code = 1
    try:
        kernel.die_with_parent()
        code = body()
    except BaseException:  # noqa: BLE001 - nothing may run on into the parent's frames
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
