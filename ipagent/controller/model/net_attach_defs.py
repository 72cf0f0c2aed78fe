"""NetworkAttachmentDefinitions, as far as the controller reads them: which network they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ipagent.node_network_api import NETWORK_ANNOTATION

MAX_CONFIG = 256 << 10
"""Characters of a CNI configuration that is read."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A NetworkAttachmentDefinition: the network of its annotation, and its plugins' host interfaces."""

    key: str
    """Namespace and name, `namespace/name`."""
    network: str = ""
    masters: frozenset[str] = frozenset()


def read_definition(found: Mapping[str, Any]) -> Definition:
    """Read an object; a configuration that can't be read names no interface. Raises KeyError."""
    metadata = found["metadata"]
    config = (found.get("spec") or {}).get("config")
    annotations = metadata.get("annotations") or {}
    return Definition(
        f"{metadata['namespace']}/{metadata['name']}",
        str(annotations.get(NETWORK_ANNOTATION, "")),
        frozenset(_masters(config)),
    )


def _masters(text: object) -> Iterator[str]:
    """Find the host's interfaces: `master` of ipvlan and macvlan, `device` of host-device, also in a list."""
    if not isinstance(text, str) or len(text) > MAX_CONFIG:
        return
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return
    plugins = config.get("plugins", [config]) if isinstance(config, dict) else []
    for plugin in plugins if isinstance(plugins, list) else []:
        if isinstance(plugin, dict):
            names = (plugin.get("master"), plugin.get("device"))
            yield from (name for name in names if isinstance(name, str) and name)
