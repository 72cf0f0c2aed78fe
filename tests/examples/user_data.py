"""Reads the user data of nodes as nodeadm does."""

from __future__ import annotations

from typing import Any

import yaml


def only_node_config(user_data: str) -> dict[str, Any]:
    """Return the one part of a multipart document, a NodeConfig; a script beside it is an error."""
    head, part, end = user_data.split("\n--//")
    assert head.startswith('MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="//"\n')
    assert end == "--\n"
    kind, _, document = part.lstrip("\n").partition("\n\n")
    assert kind == "Content-Type: application/node.eks.aws"
    found: dict[str, Any] = yaml.safe_load(document)
    assert (found["apiVersion"], found["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    return found
