"""Informer of this node's NodeAttachments.

Thread: the reflector's calls `on_list`, `on_change` and `on_error`; the main loop's takes snapshots.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from common.kube.client import Client
from common.kube.reflector import Reflector, Target
from ipagent.links.attachments import LinkAttachment, read_attachment
from ipagent.log import Log
from ipagent.networkapi import ATTACHMENTS, NODE_LABEL, label_value


class AttachmentInformer:
    """The NodeAttachments of one node; `fileno` becomes readable when they have changed."""

    def __init__(self, client: Client, node: str, log: Log) -> None:
        self.synced = False
        target = Target(
            ATTACHMENTS,
            f"the NodeAttachments of node {node}",
            {"labelSelector": f"{NODE_LABEL}={label_value(node)}"},
        )
        self._reflector = Reflector(client, target, self._take, self)
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[str, LinkAttachment] = {}
        self._changed: set[str] = set()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._failure = ""

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._event

    def start(self) -> None:
        """Begin with a list."""
        self._reflector.start()

    def stop(self, seconds: float) -> None:
        """End the thread; one that is just connecting ends with the process."""
        self._reflector.stop()
        self._reflector.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether its thread goes on."""
        return self._reflector.is_alive()

    def snapshot(self) -> tuple[dict[str, LinkAttachment], set[str]]:
        """Return all of them in order of their names, and the names of those that have changed since."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        with self._lock:
            changed, self._changed = self._changed, set()
            return dict(sorted(self._known.items())), changed

    def _take(self, found: Mapping[str, Any]) -> tuple[str, LinkAttachment | None]:
        """Read an object; one that can't be read is logged and left alone."""
        name = str(found["metadata"]["name"])
        try:
            return name, read_attachment(found)
        except (KeyError, TypeError, ValueError) as error:
            self._log.warning("unreadable", message=f"NodeAttachment {name} is left alone: {error!r}")
            return name, None

    def on_list(self, items: tuple[tuple[str, LinkAttachment | None], ...]) -> None:
        """Replace all."""
        with self._lock:
            self._known = {name: each for name, each in items if each is not None}
            self._changed |= set(self._known)
            self.synced = True
        self._failure = ""
        os.eventfd_write(self._event, 1)

    def on_change(self, item: tuple[str, LinkAttachment | None], *, gone: bool) -> None:
        """Apply one change."""
        name, found = item
        with self._lock:
            if gone or found is None:
                self._known.pop(name, None)
            else:
                self._known[name] = found
            self._changed.add(name)
        self._failure = ""
        os.eventfd_write(self._event, 1)

    def on_error(self, error: Exception) -> None:
        """Log a failure once; the reflector tries again."""
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning("watch-failed", message=f"{error}; what was known stays, and it is tried again")
