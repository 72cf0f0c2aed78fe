"""Introspection: what the node agent knows, by a Unix socket, for `ipagent node status`.

A port would tell every pod of the node which addresses the others have.

Thread: StatusServer has one of its own, which reads the agent's state.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from common.version import VERSION
from ipagent.assign.address_state import PlannedAddress
from ipagent.assign.addresses import sort_key
from ipagent.assign.release import Pair
from ipagent.log import Log
from ipagent.node.central.pauses import Silence
from ipagent.node.gc.verdict import Decision, Verdict
from ipagent.node.model.gc_policy import GcMode
from ipagent.node.model.pod import ElasticIps, PodKey
from ipagent.node.observe.metrics import state_of
from ipagent.node.observe.status_command import SOCKET, TIMEOUT, Document

PAUSE = 1.0
"""Seconds until the next accept when the kernel has no descriptor for one."""


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


@dataclass(frozen=True)
class AgentState:
    """What the agent knows. `verdicts` are those of the last sweep, `swept` whether there was one."""

    node: str
    instance: str = ""
    watch_age: float | None = None
    items: tuple[PlannedAddress, ...] = ()
    owners: Mapping[Pair, PodKey] = field(default_factory=dict)
    mode: GcMode = GcMode.REPORT
    swept: bool = False
    verdicts: tuple[Verdict, ...] = ()
    elastic_ips: Mapping[PodKey, ElasticIps] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    """The NodeAttachments whose requests the controller does not answer."""


def document(known: AgentState, now: float) -> Document:
    """Describe it; `now` is on the clock of the sweep and of the silences."""
    items = sorted(known.items, key=lambda item: (item.eni_id, sort_key(item.address)))
    left = [each for each in known.verdicts if each.decision is not Decision.KEEP]
    kept = [each for each in known.verdicts if each.decision is Decision.KEEP]
    held = {(item.eni_id, item.address) for item in items}
    return {
        "version": VERSION,
        "node": known.node,
        "instance": known.instance,
        "watchAgeSeconds": None if known.watch_age is None else round(known.watch_age, 1),
        "unanswered": [_silence(name, each, now) for name, each in sorted(known.silences.items())],
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


def _address(item: PlannedAddress, owners: Mapping[Pair, PodKey]) -> Document:
    pod = owners.get((item.eni_id, item.address))
    return {
        "address": str(item.address),
        "eni": item.eni_id,
        "interface": item.placement.holding.interface,
        "pod": str(pod) if pod else "",
        "state": state_of(item),
        "reason": item.failure.told.text if item.failure else "",
    }


def _silence(name: str, each: Silence, now: float) -> Document:
    return {
        "nodeAttachment": name,
        "text": each.failure.text,
        "remedy": each.failure.remedy,
        "sinceSeconds": max(0, round(now - each.since)),
        "lastSeconds": max(0, round(now - each.last)),
    }


def _verdict(each: Verdict, now: float) -> Document:
    return {
        "address": str(each.address),
        "eni": each.eni_id,
        "pod": str(each.pod) if each.pod else "",
        "why": str(each.why),
        "text": each.text,
        "dueInSeconds": None if each.until is None else max(0, round(each.until - now)),
    }
