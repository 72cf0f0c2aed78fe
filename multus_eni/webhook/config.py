"""The settings file: strict YAML, read once at start."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec
import yaml

from multus_eni import contract
from multus_eni.contract import Backend, Credentials, LogFormat, LogLevel, Mode
from multus_eni.webhook.settings import EnvVar, Settings

MAX_FILE_SIZE = 1 << 20
EXAMPLE = "agent:\n  image: registry.example/multus-eni/ipagent:1.0"
_ENV_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")


class ConfigError(Exception):
    """The settings file can't be used; the text names file, key and what to do."""


class _Env(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: str = ""


class _Agent(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    image: str
    image_pull_policy: str | None = None
    env: list[_Env] = []
    timeout: str = f"{contract.DEFAULT_TIMEOUT}s"
    credentials: str = Credentials.CHAIN.value
    allowed_cidrs: list[str] = msgspec.field(default_factory=list, name="allowedCIDRs")
    log_level: str = LogLevel.INFO.value
    log_format: str = LogFormat.AUTO.value


class _Injection(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    default_mode: str = Mode.INIT.value
    excluded_namespaces: list[str] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    agent: _Agent
    injection: _Injection = msgspec.field(default_factory=_Injection)


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
        file = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(_key_first(str(error))) from None
    return _settings(file)


def _key_first(message: str) -> str:
    # msgspec ends its messages with the place, " - at `$.agent.image`"; a place that is missing is the top.
    problem, _, place = message.partition(" - at `$")
    key = place.strip(".`") or "the file"
    return f"{key}: {problem.replace('Object ', '')}"


def _settings(file: _File) -> Settings:
    agent = file.agent
    if not agent.image.strip():
        raise ConfigError(f"agent.image: is empty; the least it needs is\n{EXAMPLE}")
    if agent.image_pull_policy not in (None, "Always", "IfNotPresent", "Never"):
        raise ConfigError(
            f"agent.imagePullPolicy: {agent.image_pull_policy!r} is none of Always, IfNotPresent, Never"
        )
    return Settings(
        image=agent.image,
        image_pull_policy=agent.image_pull_policy,
        env=tuple(_env(index, entry) for index, entry in enumerate(agent.env)),
        agent=_agent_settings(agent),
        default_mode=_choice("injection.defaultMode", Mode, file.injection.default_mode),
        excluded_namespaces=frozenset({"kube-system", *file.injection.excluded_namespaces}),
    )


def _agent_settings(agent: _Agent) -> contract.AgentSettings:
    for cidr in agent.allowed_cidrs:
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            raise ConfigError(f"agent.allowedCIDRs: {error}") from None
    try:
        timeout = contract.parse_timeout(agent.timeout)
    except contract.ContractError as error:
        raise ConfigError(f"agent.timeout: {error}") from None
    return contract.AgentSettings(
        timeout=timeout,
        allowed_cidrs=tuple(agent.allowed_cidrs),
        credentials=_choice("agent.credentials", Credentials, agent.credentials),
        backend=Backend.DIRECT,
        log_level=_choice("agent.logLevel", LogLevel, agent.log_level),
        log_format=_choice("agent.logFormat", LogFormat, agent.log_format),
    )


def _choice(key: str, kind: type[contract.Choice], text: str) -> contract.Choice:
    try:
        return contract.parse_choice(kind, text)
    except contract.ContractError as error:
        raise ConfigError(f"{key}: {error}") from None


def _env(index: int, entry: _Env) -> EnvVar:
    key = f"agent.env[{index}].name"
    if not _ENV_NAME.fullmatch(entry.name):
        raise ConfigError(f"{key}: {entry.name!r} is not a name of an environment variable")
    if entry.name.startswith(contract.ENV_PREFIX):
        raise ConfigError(f"{key}: {entry.name!r}: names with {contract.ENV_PREFIX} are set by the injector")
    return EnvVar(entry.name, entry.value)
