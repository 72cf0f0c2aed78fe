"""What is handed to the process that enters a namespace."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spec:
    """A command and what it is to run in; `user` and `net` are inherited file descriptors.

    `parent` is the process whose end ends it. `unprivileged`: uid 65534, no capabilities, no_new_privs.
    `termination_log` is a file that appears as /dev/termination-log. `read_only` makes every other file
    system read-only.
    """

    parent: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    user: int | None
    net: int | None
    unprivileged: bool = False
    termination_log: str | None = None
    read_only: bool = False

    def to_json(self) -> str:
        """Write the form that `main` reads."""
        return json.dumps(asdict(self))
