"""Kubeconfigs as files."""

from __future__ import annotations

import base64
import json
from pathlib import Path

NOBODY = "https://127.0.0.1:1"
"""A server that does not answer."""


def write_kubeconfig(path: Path, server: str, authority: bytes = b"", token: str = "t") -> Path:
    """Write a kubeconfig for a token; `authority` is the CA in PEM, which becomes a part of the file."""
    cluster = {"server": server}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path
