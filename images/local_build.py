"""What is built here: for which machine, of which commit, trusting whom."""

from __future__ import annotations

import os

from common.version import VERSION
from images.plan import Build
from images.run import CommandError, output

_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


def local_build(base: str = "", platform: str = "") -> Build:
    """Describe a build of this clone on this machine, in the image `base`. Raises CommandError.

    `platform`: for which one docker archives are built, empty for this machine's.
    """
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise CommandError(f"images are built on {' and '.join(_MACHINES)}, and this is {machine}")
    return Build(
        version=VERSION,
        build_platform=_MACHINES[machine],
        revision=_revision(),
        base=base,
        ca=next(filter(None, map(os.environ.get, _CA_VARIABLES)), ""),
        snapshot=os.environ.get("DEBIAN_SNAPSHOT", ""),
        created=os.environ.get("SOURCE_DATE_EPOCH") or _released(),
        platform=platform,
    )


def _revision() -> str:
    """The commit, or nothing where there is no git or where the folder differs from the commit."""
    try:
        clean = not output(["git", "status", "--porcelain"])
        return output(["git", "rev-parse", "HEAD"]).strip() if clean else ""
    except CommandError:
        return ""


def _released() -> str:
    """The time of the commit that set the version, in seconds since 1970; empty where there is no git.

    All that is built of one version is dated alike. So both images have the same layer at the bottom, also
    where one of them was in the cache and the other one is built anew.
    """
    try:
        return output(["git", "log", "-1", "--format=%ct", "--", "common/version.py"]).strip()
    except CommandError:
        return ""
