"""The settings file: strict YAML, read once at start."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from webhook.config_schema import ConfigError, File, settings_of
from webhook.core.settings import Settings

MAX_FILE_SIZE = 1 << 20
EXAMPLE = "agent:\n  image: registry.example/multus-eni/ipagent:1.0"


def load_settings(path: Path) -> Settings:
    """Read the settings file. Raises ConfigError that names file and key."""
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ConfigError(f"{path}: larger than {MAX_FILE_SIZE} bytes: this is no settings file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return parse_settings(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_settings(text: str) -> Settings:
    """Read settings from YAML. Raises ConfigError that names the key."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"not a mapping; the least it needs is\n{EXAMPLE}")
    try:
        file = msgspec.convert(document, File)
    except msgspec.ValidationError as error:
        raise ConfigError(_key_first(str(error))) from None
    return settings_of(file)


def _key_first(message: str) -> str:
    # msgspec ends its messages with the place, " - at `$.agent.image`"; a place that is missing is the top.
    problem, _, place = message.partition(" - at `$")
    key = place.strip(".`") or "the file"
    return f"{key}: {problem.replace('Object ', '')}"


__all__ = ["ConfigError", "load_settings", "parse_settings"]
