"""The first process of namespaces: `pid1.py SCRIPT READY` runs a script, says so in a file, and reaps.

It needs nothing but the standard library, as a program of its own. Its end is the end of all others in its
PID namespace (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    script, ready = sys.argv[1:]
    subprocess.run(["sh", "-eu", script], stdin=subprocess.DEVNULL, check=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    Path(ready).touch()
    while True:
        _reap()
        signal.sigwait({signal.SIGCHLD})


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
