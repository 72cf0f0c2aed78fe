"""The few system calls of namespaces(7) that Python 3.11 lacks, by ctypes; standard library only.

Numbers are those of the kernel's uapi headers sched.h, prctl.h, capability.h and mount.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_SYS_MOUNT_SETATTR = 442  # the same on every architecture
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the caller's namespaces for new ones (unshare(2)); raises OSError."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` refers to (setns(2)): for this thread only; raises OSError."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Mount a file system (mount(2)); raises OSError that names the target."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, f"mount {target}")


def make_mounts_private() -> None:
    """Keep what is mounted from here on inside the caller's mount namespace."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def make_mounts_read_only(but: str) -> None:
    """Make every mount of the caller's mount namespace read-only, save for the mount at the path `but`.

    Needs Linux 5.12 (mount_setattr(2)); raises OSError.
    """
    _set_mount_attributes("/", _AT_RECURSIVE, _MOUNT_ATTR_RDONLY, 0)
    make_mount_writable(but)


def make_mount_writable(path: str) -> None:
    """Undo read-only for the one mount at `path`; raises OSError."""
    _set_mount_attributes(path, 0, 0, _MOUNT_ATTR_RDONLY)


def _set_mount_attributes(path: str, flags: int, attributes: int, cleared: int) -> None:
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    change = (ctypes.c_uint64 * 4)(attributes, cleared, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(-1),
        ctypes.c_char_p(path.encode()),
        ctypes.c_uint(flags),
        ctypes.byref(change),
        ctypes.c_size_t(ctypes.sizeof(change)),
    )
    _check(result, f"mount_setattr {path}")


def new_user_namespace(inside: int, *, also: int = 0) -> None:
    """Enter a new user namespace in which the id `inside` stands for the caller's uid and gid.

    `also` are further namespaces that the new one owns. The caller has all rights in them until its
    next execve; it must have a single thread. Raises OSError, also where an AppArmor profile lets the
    namespace be made but nothing be done in it.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | also)
    # user_namespaces(7): an unprivileged process maps its own ids only, its gid after denying setgroups.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{inside} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{inside} {gid} 1", encoding="ascii")


def die_with_parent(parent: int | None = None) -> None:
    """Let the kernel kill this process when the thread that started it ends (PR_SET_PDEATHSIG).

    A change of ids or capabilities clears it, so it is the last thing before exec. Raises OSError where
    the process is no child of `parent` any more.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl PDEATHSIG")
    if parent is not None and os.getppid() != parent:
        raise OSError(errno.ESRCH, "the process that started this one has ended already")


def set_no_new_privileges() -> None:
    """Let no execve give this process more rights (allowPrivilegeEscalation: false)."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "prctl NO_NEW_PRIVS")


def drop_bounding_capabilities() -> None:
    """Empty the bounding set: no execve can bring a capability back."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    for capability in range(last + 1):
        result = _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
        _check(result, f"prctl CAPBSET_DROP {capability}")


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets, and with them the ambient one."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(sets)), "capset")
