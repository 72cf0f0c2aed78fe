"""Settings of the node agent: strict JSON, as the chart writes it, read once at the start. Pure.

Thread: the main thread's, before any other starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from common.agent_settings import DEFAULT_NODE_PORT, MAX_PORT, Credentials, LogFormat, LogLevel
from common.shorten import SHOWN
from ipagent.node.model.gc_policy import MIN_COOLDOWN, GcMode, GcPolicy
from ipagent.node.model.grants import Grants, read_grants
from ipagent.node.model.settings_readers import SettingsError, quote, read_cidrs

MAX_BYTES = 1 << 20
"""A ConfigMap has no more."""
DEFAULT_HEALTH_PORT = 9408
MIN_INTERVAL = 10.0
MAX_SECONDS = 86_400.0

_DURATION = re.compile(r"([0-9]{1,5})([smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")


@dataclass(frozen=True)
class NodeSettings:
    """What the operator wants of the node agents.

    `watch_only`: pods are served by their network-status alone, and none has an injected container. `port` is
    for claims, `health_port` for probes and metrics. Without `require_tag` ENIs need no tag to be used. With
    `pod_condition` each pod's status shows whether its addresses are assigned; with `node_networks` it
    reports to NodeAttachments what its pods have; with `central` the controller makes its calls to EC2.
    """

    port: int = DEFAULT_NODE_PORT
    health_port: int = DEFAULT_HEALTH_PORT
    watch_only: bool = False
    grants: Grants = field(default_factory=Grants)
    rules: GcPolicy = field(default_factory=GcPolicy)
    credentials: Credentials = Credentials.CHAIN
    require_tag: bool = True
    pod_condition: bool = False
    node_networks: bool = False
    central: bool = False
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.AUTO


def read_settings(data: bytes) -> NodeSettings:
    """Read the file's content. A key that is missing has its default. Raises SettingsError."""
    if len(data) > MAX_BYTES:
        raise SettingsError(f"larger than {MAX_BYTES} bytes: this is not a settings file")
    try:
        document = json.loads(data, object_pairs_hook=_unique)
    except SettingsError:
        raise
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"not JSON: {error}") from None
    given = _Keys(document, "")
    settings = NodeSettings(
        port=given.read("port", _port, DEFAULT_NODE_PORT),
        health_port=given.read("healthPort", _port, DEFAULT_HEALTH_PORT),
        watch_only=given.read("watchOnly", _flag, False),
        grants=replace(
            given.read("grants", read_grants, Grants()), allowed=given.read("allowedCIDRs", read_cidrs, ())
        ),
        rules=given.read("gc", _rules, GcPolicy()),
        credentials=given.read("credentials", _choice(Credentials), Credentials.CHAIN),
        require_tag=given.read("requireTag", _flag, True),
        pod_condition=given.read("podCondition", _flag, False),
        node_networks=given.read("nodeNetworks", _flag, False),
        central=given.read("central", _flag, False),
        log_level=given.read("logLevel", _choice(LogLevel), LogLevel.INFO),
        log_format=given.read("logFormat", _choice(LogFormat), LogFormat.AUTO),
    )
    given.finish()
    _check(settings)
    return settings


def _check(settings: NodeSettings) -> None:
    """Raise SettingsError where two settings contradict each other."""
    if settings.port == settings.health_port:
        raise SettingsError(f"healthPort: {settings.health_port} is the port for claims already")
    rules = settings.rules
    floating_known = rules.protected or rules.no_floating
    if settings.watch_only and rules.mode is GcMode.ON and not floating_known:
        raise SettingsError(
            "gc.mode: 'on' with watchOnly: pods without an injected container can't report their floating "
            "addresses: name their ranges in gc.protectedCIDRs, set gc.noFloatingAddresses to true if there "
            "are none, or use 'report' or 'off'"
        )


def _rules(value: object, key: str) -> GcPolicy:
    given = _Keys(value, key)
    rules = GcPolicy(
        mode=given.read("mode", _choice(GcMode), GcPolicy.mode),
        cooldown=given.read("cooldown", _duration(MIN_COOLDOWN), GcPolicy.cooldown),
        interval=given.read("interval", _duration(MIN_INTERVAL), GcPolicy.interval),
        managed=given.read("managedCIDRs", read_cidrs, ()),
        protected=given.read("protectedCIDRs", read_cidrs, ()),
        no_floating=given.read("noFloatingAddresses", _flag, False),
    )
    given.finish()
    return rules


class _Keys:
    """The keys of a mapping, each of which is read once and under its full name."""

    def __init__(self, value: object, key: str) -> None:
        if not isinstance(value, dict):
            raise SettingsError(f"{key or 'the file'}: {quote(value)} is not a mapping")
        self._left: dict[str, Any] = dict(value)
        self._prefix = f"{key}." if key else ""
        self._known: list[str] = []

    def read(self, name: str, parse: Callable[[object, str], Value], default: Value) -> Value:
        """Return the value of a key; null is the default, as if the key were missing."""
        self._known.append(name)
        value = self._left.pop(name, None)
        return default if value is None else parse(value, self._prefix + name)

    def finish(self) -> None:
        """Raise SettingsError where a key is left that nobody knows."""
        for name in self._left:
            raise SettingsError(f"{self._prefix}{name[:SHOWN]}: is not one of {', '.join(self._known)}")


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise SettingsError(f"{key[:SHOWN]}: is there twice")
        found[key] = value
    return found


def _port(value: object, key: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_PORT:
        raise SettingsError(f"{key}: {quote(value)} is not a port from 1 to {MAX_PORT}")
    return value


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{key}: {quote(value)} is neither true nor false")
    return value


def _choice(kind: type[Choice]) -> Callable[[object, str], Choice]:
    def parse(value: object, key: str) -> Choice:
        try:
            return kind(str(value))
        except ValueError:
            raise SettingsError(f"{key}: {quote(value)} is not one of {', '.join(kind)}") from None

    return parse


def _duration(least: float) -> Callable[[object, str], float]:
    """Read a duration of at least so many seconds."""

    def parse(value: object, key: str) -> float:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = float(int(found[1]) * _UNITS[found[2]]) if found else -1.0
        if not least <= seconds <= MAX_SECONDS:
            raise SettingsError(
                f"{key}: {quote(value)} is not a duration from {least:.0f}s to 24h, such as 2m"
            )
        return seconds

    return parse
