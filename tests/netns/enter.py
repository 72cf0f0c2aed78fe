"""Run a command inside a namespace: `python -S -m tests.netns.enter SPEC`, SPEC being a `Spec` as JSON.

A process of its own, since setns into a user namespace needs a single thread and a fork of a threaded
process may run next to nothing before exec. Exit code 125 means that the command was not started.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import sys
from pathlib import Path

from tests.netns import kernel
from tests.netns.spec import Spec

NOBODY = 65534
NOT_STARTED = 125
TERMINATION_LOG = "/dev/termination-log"

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def main() -> None:
    """Enter, drop rights, become the command."""
    spec = Spec(**json.loads(sys.argv[1]))
    try:
        _enter(spec)
        if spec.termination_log is not None or spec.read_only:
            _prepare_mounts(spec)
        if spec.unprivileged:
            _drop_rights()
        kernel.die_with_parent(spec.parent)
        os.chdir(spec.cwd)
        # Python's own interpreter ignores SIGPIPE, and exec would hand that on.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(spec.argv[0], spec.argv, spec.env)
    except OSError as error:
        path = f"; PATH is {spec.env.get('PATH')}" if error.errno == errno.ENOENT else ""
        print(f"netns: {spec.argv[0]} was not started: {error}{path}", file=sys.stderr)
        raise SystemExit(NOT_STARTED) from None


def _enter(spec: Spec) -> None:
    if spec.user is not None:
        kernel.setns(spec.user, kernel.CLONE_NEWUSER)
    if spec.net is not None:
        kernel.setns(spec.net, kernel.CLONE_NEWNET)
    for fd in (spec.user, spec.net):
        if fd is not None:
            os.close(fd)


def _prepare_mounts(spec: Spec) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.make_mounts_private()
    if spec.read_only:
        # In /proc the ids of the process are mapped; runtimes leave it writable too.
        kernel.make_mounts_read_only(but="/proc")
    if spec.termination_log is not None:
        _mount_devices(Path(spec.termination_log))
        if spec.read_only:
            # A bind mount takes over what the mount of its source has.
            kernel.make_mount_writable(TERMINATION_LOG)


def _mount_devices(termination_log: Path) -> None:
    """Put a /dev in place that has what containers have, and the log: as the kubelet mounts it."""
    sources = {f"/dev/{name}": Path("/dev") / name for name in _DEVICES}
    sources[TERMINATION_LOG] = termination_log
    fds = {target: os.open(source, os.O_PATH) for target, source in sources.items() if source.exists()}
    kernel.mount("tmpfs", "/dev", "tmpfs", kernel.MS_NOSUID, "mode=755,size=1m")
    for target, fd in fds.items():
        Path(target).touch()
        kernel.mount(f"/proc/self/fd/{fd}", target, flags=kernel.MS_BIND)
        os.close(fd)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        Path("/dev", name).symlink_to(f"/proc/self/fd/{number}")
    Path("/dev/fd").symlink_to("/proc/self/fd")
    if not stat.S_ISREG(Path(TERMINATION_LOG).stat().st_mode):
        raise OSError(errno.EINVAL, f"{termination_log} is not a file")


def _drop_rights() -> None:
    try:
        kernel.new_user_namespace(NOBODY)
    except OSError:
        if os.geteuid() != 0:
            raise
        # Root that may not make user namespaces changes its ids for good.
        kernel.drop_bounding_capabilities()
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    else:
        kernel.drop_bounding_capabilities()
    kernel.set_no_new_privileges()
    kernel.drop_capabilities()


if __name__ == "__main__":
    main()
