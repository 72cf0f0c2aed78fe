"""Keeps systemd-networkd, and programs that configure it, off the interfaces of node networks.

amazon-ec2-net-utils writes a .network file for each ENI that appears, and has networkd read all files again.
Files are tried in the order of their names whatever their folder, and the first that matches counts
(systemd.network(5)). So a file that comes earlier has to be there before the ENI is, whose MAC is known from
its creation on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipagent.links.plan import WantedLink
from ipagent.log import Log

PREFIX = "05-multus-eni-"
SUFFIX = ".network"

_FILE = """\
# By multus-eni: addresses of this interface are those of pods, not of the node.
[Match]
MACAddress={mac}

[Link]
Unmanaged=yes
"""


def network_files(wanted: Sequence[WantedLink]) -> dict[str, str]:
    """Return the files by their names."""
    return {
        f"{PREFIX}{each.mac.replace(':', '')}{SUFFIX}": _FILE.format(mac=each.mac)
        for each in sorted(wanted, key=lambda each: each.mac)
    }


@dataclass
class NetworkFiles:
    """The files in a folder of networkd's, which are written before the interfaces appear."""

    folder: Path
    log: Log
    _failure: str = ""

    def sync(self, wanted: Sequence[WantedLink]) -> None:
        """Write what is missing, and remove what was written for an ENI that is gone; a failure is logged."""
        try:
            self._sync(network_files(wanted))
        except OSError as error:
            if str(error) != self._failure:
                self._failure = str(error)
                self.log.warning(
                    "networkd-failed",
                    message=f"{self.folder} can't be written ({error.strerror}): exclude the interfaces on "
                    "the node as docs/networks.md shows, and set nodeAgent.unmanageLinks to false",
                )
        else:
            self._failure = ""

    def _sync(self, files: dict[str, str]) -> None:
        for path in self.folder.glob(f"{PREFIX}*{SUFFIX}"):
            if path.name not in files:
                path.unlink(missing_ok=True)
        for name, text in files.items():
            path = self.folder / name
            if not path.exists():
                # networkd does not read files that begin with a dot, or end otherwise.
                draft = self.folder / f".{name}.new"
                draft.write_text(text, encoding="utf-8")
                draft.rename(path)
