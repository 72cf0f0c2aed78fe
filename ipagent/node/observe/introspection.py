"""Introspection: what the node agent knows, by a Unix socket, for `ipagent node status`.

A port would tell every pod of the node which addresses the others have.

Thread: StatusServer has one of its own, which reads the agent's state; `ask` runs in the command's process.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from common.version import VERSION
from ipagent.assign.address_state import Item
from ipagent.assign.addresses import sort_key
from ipagent.assign.release import Pair
from ipagent.log import Log
from ipagent.node.gc.verdict import Decision, Verdict
from ipagent.node.model.ownership import GcMode
from ipagent.node.model.pod import ElasticIps, PodKey
from ipagent.node.observe.metrics import state_of

SOCKET = "status.sock"
TIMEOUT = 10.0
MAX_ANSWER = 16 << 20
PAUSE = 1.0
"""Seconds until the next accept when the kernel has no descriptor for one."""


class NotRunning(Exception):
    """No agent answers; the text says where it was looked for, and what to do."""


class StatusServer:
    """Sends `answer()` to everyone who connects, from `with` to the end of its block.

    Where the socket can't be made, a warning is logged, and the agent works without it.
    """

    def __init__(self, folder: Path, answer: Callable[[], dict[str, Any]], log: Log) -> None:
        self._path = folder / SOCKET
        self._answer = answer
        self._log = log
        self._socket: socket.socket | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def __enter__(self) -> Self:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # What an agent that was killed has left.
            with suppress(FileNotFoundError):
                self._path.unlink()
            before = os.umask(0o177)
            try:
                listener.bind(str(self._path))
            finally:
                os.umask(before)
            listener.listen(4)
        except OSError as error:
            listener.close()
            self._log.warning("no-status", message=f"{self._path} can't be made: {error.strerror or error}")
            return self
        self._socket = listener
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._closing.set()
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._socket.close()
            with suppress(OSError):
                self._path.unlink()

    def _serve(self) -> None:
        listener = self._socket
        while listener is not None and not self._closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                # At the end, or for want of a descriptor, of which there are more later.
                self._closing.wait(PAUSE)
                continue
            with connection, suppress(OSError):
                connection.settimeout(TIMEOUT)
                connection.sendall(json.dumps(self._answer()).encode())


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


Document = dict[str, Any]


@dataclass(frozen=True)
class AgentState:
    """What the agent knows. `verdicts` are those of the last sweep, `swept` whether there was one."""

    node: str
    instance: str = ""
    watch_age: float | None = None
    items: tuple[Item, ...] = ()
    owners: Mapping[Pair, PodKey] = field(default_factory=dict)
    mode: GcMode = GcMode.REPORT
    swept: bool = False
    verdicts: tuple[Verdict, ...] = ()
    elastic_ips: Mapping[PodKey, ElasticIps] = field(default_factory=dict)


def document(known: AgentState, now: float) -> Document:
    """Describe it; `now` is on the clock of the sweep."""
    items = sorted(known.items, key=lambda item: (item.eni_id, sort_key(item.address)))
    left = [each for each in known.verdicts if each.decision is not Decision.KEEP]
    kept = [each for each in known.verdicts if each.decision is Decision.KEEP]
    held = {(item.eni_id, item.address) for item in items}
    return {
        "version": VERSION,
        "node": known.node,
        "instance": known.instance,
        "watchAgeSeconds": None if known.watch_age is None else round(known.watch_age, 1),
        "addresses": [_address(item, known.owners) for item in items],
        "elasticIPs": [
            {"pod": str(pod), "associated": each.associated, "text": each.text}
            for pod, each in sorted(known.elastic_ips.items())
        ],
        "garbageCollection": {
            "mode": str(known.mode),
            "swept": known.swept,
            "leaked": [_verdict(each, now) for each in left],
            "kept": [_verdict(each, now) for each in kept if each.pair not in held],
        },
    }


def to_text(found: Document) -> str:
    """Write the document for people."""
    age = found["watchAgeSeconds"]
    heard = "never" if age is None else f"{age:g} s ago"
    where = f" on {found['instance']}" if found["instance"] else ""
    lines = [
        f"node:         {found['node']}{where}, ipagent {found['version']}",
        f"API server:   last message {heard}",
        *_table("addresses", map(_address_line, found["addresses"])),
        *(_table("elastic IPs", map(_eip_line, found["elasticIPs"])) if found["elasticIPs"] else ()),
        *_garbage_collection(found["garbageCollection"]),
    ]
    return "\n".join(lines) + "\n"


def _garbage_collection(found: Document) -> Iterator[str]:
    mode = found["mode"]
    yield f"gc:           {mode}{'' if found['swept'] or mode == GcMode.OFF else ', no sweep so far'}"
    yield from _table("leaked", map(_verdict_line, found["leaked"]))
    yield from _table("kept", map(_verdict_line, found["kept"]))


def _table(title: str, rows: Iterable[str]) -> Iterator[str]:
    found = list(rows)
    yield f"{title + ':':13} {len(found)}"
    yield from (f"  {row}" for row in found)


def _address(item: Item, owners: Mapping[Pair, PodKey]) -> Document:
    pod = owners.get((item.eni_id, item.address))
    return {
        "address": str(item.address),
        "eni": item.eni_id,
        "interface": item.placement.holding.interface,
        "pod": str(pod) if pod else "",
        "state": state_of(item),
        "reason": item.failure.text if item.failure else "",
    }


def _address_line(each: Document) -> str:
    why = f": {each['reason']}" if each["reason"] else ""
    return f"{each['address']:15} {each['eni']}  {each['state']:8} {each['pod']}{why}"


def _eip_line(each: Document) -> str:
    return f"{each['pod']}: {'' if each['associated'] else 'missing: '}{each['text']}"


def _verdict(each: Verdict, now: float) -> Document:
    return {
        "address": str(each.address),
        "eni": each.eni_id,
        "pod": str(each.pod) if each.pod else "",
        "why": str(each.why),
        "text": each.text,
        "dueInSeconds": None if each.until is None else max(0, round(each.until - now)),
    }


def _verdict_line(each: Document) -> str:
    due = each["dueInSeconds"]
    when = "" if due is None else f" (due in {due} s)" if due else " (due)"
    return f"{each['address']:15} {each['eni']}  {each['text']}{when}"
