"""Why the system forbids namespaces, and what to allow."""

from __future__ import annotations

import os
from pathlib import Path

_SYSCTLS = (
    # Debian's and Arch's switch, Linux's limit (0 forbids), Ubuntu's AppArmor restriction (23.10 and later).
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("user.max_net_namespaces", "0", "15000"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)


class NamespacesForbidden(Exception):
    """The system allows no network namespace; the text says what to allow."""


def explain(error: OSError | str, sysctls: Path = Path("/proc/sys")) -> str:
    """Say in one sentence what was refused, and how root allows it on this system."""
    refused = f"this system allows no network namespace here ({error})"
    remedies = [
        f"sysctl -w {name}={allowing}"
        for name, forbidding, allowing in _SYSCTLS
        if _value(sysctls, name) == forbidding
    ]
    if remedies:
        return f"{refused}: allow it as root with: {'; '.join(remedies)}"
    if os.geteuid() == 0:
        return (
            f"{refused}: root lacks CAP_SYS_ADMIN, as in most containers: start the container with "
            "--privileged, or with --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined"
        )
    names = ", ".join(name for name, _, _ in _SYSCTLS)
    return (
        f"{refused}: none of the sysctls {names} forbids it, so a container's seccomp filter or a security "
        "module does: allow unshare(CLONE_NEWUSER), or run as root"
    )


def _value(sysctls: Path, name: str) -> str | None:
    try:
        return (sysctls / name.replace(".", "/")).read_text(encoding="ascii").strip()
    except OSError:
        return None
