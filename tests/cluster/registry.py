"""A registry for images and charts without TLS: Debian's docker-registry."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.control_plane import free_ports
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for

PROGRAM = "docker-registry"


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Serve a registry that keeps everything in a folder; yields its address, `host:port`."""
    (port,) = free_ports("127.0.0.1")
    address = f"127.0.0.1:{port}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(json.dumps(settings), encoding="utf-8")
    argv = [f"/usr/bin/{PROGRAM}", "serve", str(folder / "config.yml")]
    with Process(PROGRAM, argv, log=folder / "log") as process:

        def answers() -> bool:
            process.check()
            try:
                return fetch(address, "", "*/*") is not None
            except OSError:
                return False

        wait_for(answers, "registry")
        yield address


def fetch(address: str, path: str, accept: str) -> bytes:
    """Return what a registry has at a path below /v2/."""
    request = urllib.request.Request(f"http://{address}/v2/{path}", headers={"Accept": accept})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        body: bytes = response.read()
    return body
