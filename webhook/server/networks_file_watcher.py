"""Which NetworkAttachmentDefinitions belong to which network: a mounted ConfigMap, read again as it changes.

The webhook has no token for the API server; the kubelet brings the file up to date about once a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from webhook.networks_file import load_networks
from webhook.settings_file import ConfigError


class NetworksWatcher:
    """Has the newest usable content of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.current: Mapping[str, str] = {}
        self.problem = ""
        """Why the file can't be used, in which case what was read before counts."""

    def reload(self) -> bool:
        """Read the file, and return whether anything is different."""
        before = self.current, self.problem
        try:
            self.current, self.problem = load_networks(self._path), ""
        except ConfigError as error:
            self.problem = str(error)
        return (self.current, self.problem) != before
