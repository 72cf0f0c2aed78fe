"""The startup probe of a sidecar that waits: one interpreter for the whole start instead of one a second."""

from __future__ import annotations

import fcntl
import os
import signal
import time

POLL_SECONDS = 0.1
"""Between looks where the kernel does not report new files (gVisor, or a kernel without CONFIG_DNOTIFY)."""


def wait_started(started_file: str, seconds: float) -> bool:
    """Return whether the file is there, or appears within `seconds`.

    The kernel reports a new file in the folder by SIGIO (F_NOTIFY, fcntl(2)). It is blocked, so that one that
    comes before the wait ends it.
    """
    deadline = time.monotonic() + seconds
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    folder = os.path.dirname(started_file)  # noqa: PTH120 - pathlib costs more than the rest
    pause = seconds if _watch(folder) else POLL_SECONDS
    while not os.path.exists(started_file):  # noqa: PTH110 - pathlib costs more than the rest
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        signal.sigtimedwait([signal.SIGIO], min(pause, left))
    return True


def _watch(folder: str) -> bool:
    """Have the kernel report each new file in a folder; returns whether it does."""
    try:
        # Stays open for the life of the process: closing it ends the reports.
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.fcntl(folder_fd, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_MULTISHOT)
    except OSError:
        return False
    return True
