"""`die_with_parent.py PARENT-PID PROGRAM ARGUMENT…`: become a program that ends when its parent ends.

A program of its own rather than a preexec_fn, which may deadlock where the parent has threads. The
signal is bound to the parent's *thread* that started this one (prctl(2), PR_SET_PDEATHSIG), and it
survives execve.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != int(parent):
        sys.exit("the parent ended before this program was tied to it")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
