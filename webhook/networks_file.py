"""The file of networks: in which network each NetworkAttachmentDefinition is. The controller writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from webhook.settings_file import MAX_FILE_SIZE, ConfigError


class NetworksFile(msgspec.Struct):
    """What the controller writes: the network of each NetworkAttachmentDefinition, by `namespace/name`."""

    networks: dict[str, str]


def parse_networks_file(data: bytes) -> Mapping[str, str]:
    """Parse the file of networks. Raises ConfigError."""
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(f"larger than {MAX_FILE_SIZE} bytes: the controller writes no such file")
    try:
        return msgspec.json.decode(data, type=NetworksFile).networks
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"not the file of networks that the controller writes: {error}") from None


def load_networks(path: Path) -> Mapping[str, str]:
    """Read the file of networks; there is none until the controller has written it. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_networks_file(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
