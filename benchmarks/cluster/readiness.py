"""When pods become Ready and when they are gone, as the API server tells whoever watches."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from tests.cluster.control_plane import ControlPlane

SECONDS = 300.0
"""How long anything is waited for."""


class Late(RuntimeError):
    """Something did not happen in time; the text says what."""


class Readiness:
    """Watches all pods of a cluster in a thread of its own, from `with` to the end of its block."""

    def __init__(self, plane: ControlPlane) -> None:
        self._http = httpx.Client(
            base_url=plane.url,
            headers={"Authorization": f"Bearer {plane.admin.token}"},
            verify=ssl.create_default_context(cafile=str(plane.ca)),
            timeout=httpx.Timeout(10, read=None),
            trust_env=False,
        )
        self._ready: dict[str, float] = {}
        self._gone: set[str] = set()
        self._error = ""
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._watch, name="readiness", daemon=True)

    def __enter__(self) -> Self:
        self._response = self._http.send(
            self._http.build_request("GET", "/api/v1/pods", params={"watch": "true"}), stream=True
        )
        self._response.raise_for_status()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        # The thread waits in recv(2), which closing alone does not end.
        connection: socket.socket = self._response.extensions["network_stream"].get_extra_info("socket")
        connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._response.close()
        self._http.close()

    def ready(self, *names: str) -> float:
        """Wait until pods are Ready; returns the last one's time by the monotonic clock. Raises Late."""
        self._wait(lambda: all(name in self._ready for name in names), "Ready", names)
        return max(self._ready[name] for name in names)

    def gone(self, *names: str) -> None:
        """Wait until pods are gone. Raises Late."""
        self._wait(lambda: self._gone.issuperset(names), "gone", names)

    def _wait(self, condition: Callable[[], bool], what: str, names: tuple[str, ...]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or bool(self._error), SECONDS)
            if self._error:
                raise Late(f"the watch of pods ended: {self._error}")
            if not condition():
                raise Late(f"not {what} within {SECONDS:.0f} s: some of {', '.join(names)}")

    def _watch(self) -> None:
        try:
            for line in self._response.iter_lines():
                self._note(json.loads(line))
            self._end("the API server closed it")
        except (httpx.HTTPError, ValueError) as error:
            self._end(str(error) or type(error).__name__)

    def _note(self, event: Mapping[str, Any]) -> None:
        now = time.monotonic()
        name = event["object"].get("metadata", {}).get("name", "")
        with self._changed:
            if event["type"] == "DELETED":
                self._gone.add(name)
            elif is_ready(event["object"]):
                self._ready.setdefault(name, now)
            self._changed.notify_all()

    def _end(self, reason: str) -> None:
        if self._ending:
            return
        with self._changed:
            self._error = reason
            self._changed.notify_all()


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's condition Ready is true."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
