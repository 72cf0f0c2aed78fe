"""`ipagent node status`: asks the node agent by its Unix socket, and writes its answer for people.

It runs in the agent's own container, within its limits, and `multus-eni check` runs it on every node: it
imports nothing of the agent.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SOCKET = "status.sock"
TIMEOUT = 10.0
MAX_ANSWER = 16 << 20
OFF = "off"
"""`GcMode.OFF`, as the answer has it."""

Document = dict[str, Any]


class NotRunning(Exception):
    """No agent answers; the text says where it was looked for, and what to do."""


def ask(folder: Path) -> dict[str, Any]:
    """Ask the agent that has this folder; raises NotRunning."""
    path = folder / SOCKET
    parts = []
    size = 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            while part := connection.recv(1 << 16):
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER:
                    raise NotRunning(f"what answers at {path} is not an agent: it does not stop")
        found = json.loads(b"".join(parts))
    except (OSError, ValueError, RecursionError) as error:
        raise NotRunning(
            f"no agent answers at {path}: {error}. Ask in the agent's own pod: "
            "kubectl exec -n NAMESPACE POD -- ipagent node status"
        ) from None
    if not isinstance(found, dict):
        raise NotRunning(f"what answers at {path} is not an agent")
    return found


def to_text(found: Document) -> str:
    """Write the document for people."""
    age = found["watchAgeSeconds"]
    heard = "never" if age is None else f"{age:g} s ago"
    where = f" on {found['instance']}" if found["instance"] else ""
    lines = [
        f"node:         {found['node']}{where}, ipagent {found['version']}",
        f"API server:   last message {heard}",
        *(_table("unanswered", map(_silence_line, found["unanswered"])) if found["unanswered"] else ()),
        *_table("addresses", map(_address_line, found["addresses"])),
        *(_table("elastic IPs", map(_eip_line, found["elasticIPs"])) if found["elasticIPs"] else ()),
        *_garbage_collection(found["garbageCollection"]),
    ]
    return "\n".join(lines) + "\n"


def _garbage_collection(found: Document) -> Iterator[str]:
    mode = found["mode"]
    yield f"gc:           {mode}{'' if found['swept'] or mode == OFF else ', no sweep so far'}"
    yield from _table("leaked", map(_verdict_line, found["leaked"]))
    yield from _table("kept", map(_verdict_line, found["kept"]))


def _table(title: str, rows: Iterable[str]) -> Iterator[str]:
    found = list(rows)
    yield f"{title + ':':13} {len(found)}"
    yield from (f"  {row}" for row in found)


def _address_line(each: Document) -> str:
    why = f": {each['reason']}" if each["reason"] else ""
    return f"{each['address']:15} {each['eni']}  {each['state']:8} {each['pod']}{why}"


def _silence_line(each: Document) -> str:
    when = f"for {each['sinceSeconds']} s, asked last {each['lastSeconds']} s ago"
    return f"{each['nodeAttachment']}: {each['text']} ({when}). {each['remedy']}"


def _eip_line(each: Document) -> str:
    return f"{each['pod']}: {'' if each['associated'] else 'missing: '}{each['text']}"


def _verdict_line(each: Document) -> str:
    due = each["dueInSeconds"]
    when = "" if due is None else f" (due in {due} s)" if due else " (due)"
    return f"{each['address']:15} {each['eni']}  {each['text']}{when}"
