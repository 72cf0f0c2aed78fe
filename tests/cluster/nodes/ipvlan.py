"""Which CNI plugin stands on the nodes under the name `ipvlan`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.cluster.tools.binaries import find_binary

FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
"""Where Debian, the projects' releases and Fedora put the standard CNI plugins."""

# In a network namespace of its own, so that nothing is left.
_TRY = "ip link add master type veth peer name peer && ip link add link master name it type ipvlan mode l2"


class PluginMissingError(Exception):
    """No plugin can be had; the text says what to do."""


def ipvlan_plugin(folders: Sequence[Path] = FOLDERS) -> Path:
    """Return the program: the standard plugin where the kernel has ipvlan, else the stand-in by veth.

    Raises PluginMissingError.
    """
    if kernel_has_ipvlan():
        return _standard(folders)
    built = find_binary("ipvlan")
    if built is None:
        raise PluginMissingError(
            "this kernel has no ipvlan, and its stand-in is not built: `make tools` builds it"
        )
    return built


def _standard(folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / "ipvlan").is_file():
            return folder / "ipvlan"
    places = ", ".join(map(str, folders))
    raise PluginMissingError(
        f"no CNI plugin ipvlan in {places}: `make system` installs containernetworking-plugins"
    )


@cache
def kernel_has_ipvlan() -> bool:
    """Whether an ipvlan link can be made; root is needed to tell, without it the answer is no."""
    try:
        done = subprocess.run(["unshare", "--net", "sh", "-c", _TRY], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0
