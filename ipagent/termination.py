"""The container's last words, which Kubernetes shows in the pod's status."""

from __future__ import annotations

import os

MAX_BYTES = 4096
"""Kubernetes takes no more ("Determine the Reason for Pod Failure": Customizing the termination message)."""


def write_message(path: str, text: str) -> None:
    """Put the message into an existing file; without one, outside Kubernetes, nothing happens."""
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        data = data[: MAX_BYTES - 3].decode("utf-8", "ignore").encode() + "…".encode()
    try:
        # Never created: a stray file in /dev helps nobody.
        file = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(file, data)
    except OSError:
        return
    finally:
        os.close(file)
