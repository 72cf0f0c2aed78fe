"""The settings file: strict YAML, read once at start, and turned into Settings."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from common.agent_container import RUN_DIRECTORY, RUN_VOLUME, TOKEN_DIRECTORY, TOKEN_VOLUME
from common.agent_settings import (
    DEFAULT_NODE_PORT,
    DEFAULT_TIMEOUT,
    ENV_PREFIX,
    MAX_PORT,
    AgentSettings,
    Backend,
    ContractError,
    Credentials,
    LogFormat,
    LogLevel,
    Mode,
    parse_choice,
    parse_timeout,
)
from webhook.core.annotations import agent_cpu, agent_memory
from webhook.core.settings import SIZES, EnvVar, Settings, Size

Value = TypeVar("Value")

MAX_FILE_SIZE = 1 << 20
"""Bytes."""
EXAMPLE = "agent:\n  image: registry.example/multus-eni/ipagent:1.0"

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
SECURITY_ADDITIONS = ("appArmorProfile", "runAsGroup", "runAsUser", "seLinuxOptions")
"""What may be added to the security context: nothing that would violate Pod Security `restricted`."""

_ENV_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ConfigError(Exception):
    """The settings cannot be used. The text names the key and what to do."""


class Env(msgspec.Struct, forbid_unknown_fields=True):
    """An environment variable."""

    name: str
    value: str = ""


class Resources(msgspec.Struct, forbid_unknown_fields=True):
    """What the agent needs, as quantities. The default depends on the backend (SIZES)."""

    cpu: str | int | float | None = None
    memory: str | int | None = None


class Agent(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """`agent`: the injected container."""

    image: str
    image_pull_policy: str | None = None
    image_pull_secrets: list[str] = []
    resources: Resources = msgspec.field(default_factory=Resources)
    env: list[Env] = []
    volumes: list[dict[str, Any]] = []
    volume_mounts: list[dict[str, Any]] = []
    security_context: dict[str, Any] = {}
    timeout: str = f"{DEFAULT_TIMEOUT}s"
    backend: str = Backend.DIRECT.value
    node_port: int = DEFAULT_NODE_PORT
    credentials: str = Credentials.CHAIN.value
    allowed_cidrs: list[str] = msgspec.field(default_factory=list, name="allowedCIDRs")
    log_level: str = LogLevel.INFO.value
    log_format: str = LogFormat.AUTO.value


class Injection(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """`injection`: which pods are injected."""

    default_mode: str = Mode.INIT.value
    excluded_namespaces: list[str] = []
    pod_opt_in: bool = True


class File(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    agent: Agent
    injection: Injection = msgspec.field(default_factory=Injection)


def load_settings(path: Path) -> Settings:
    """Read the settings file. Raises ConfigError that names file and key."""
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ConfigError(f"{path}: larger than {MAX_FILE_SIZE} bytes: this is not a settings file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return parse_settings(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_settings(text: str) -> Settings:
    """Parse settings from YAML. Raises ConfigError that names the key."""
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
    return _settings(file)


def _key_first(message: str) -> str:
    # msgspec ends its messages with the path, " - at `$.agent.image`", except for the top level.
    problem, _, place = message.partition(" - at `$")
    key = place.strip(".`") or "the file"
    return f"{key}: {problem.replace('Object ', '')}"


def _settings(file: File) -> Settings:
    """Check the values beyond their types. Raises ConfigError that names the key."""
    agent = file.agent
    if not agent.image.strip():
        raise ConfigError("agent.image: is empty: set it to the agent's image")
    if agent.image_pull_policy not in (None, *PULL_POLICIES):
        raise ConfigError(
            f"agent.imagePullPolicy: {agent.image_pull_policy!r} is not one of {', '.join(PULL_POLICIES)}"
        )
    settings = _agent_settings(agent)
    return Settings(
        image=agent.image,
        image_pull_policy=agent.image_pull_policy,
        image_pull_secrets=tuple(
            _object_name(f"agent.imagePullSecrets[{index}]", name)
            for index, name in enumerate(agent.image_pull_secrets)
        ),
        size=_size(agent.resources, SIZES[settings.backend]),
        env=tuple(_env(f"agent.env[{index}]", entry) for index, entry in enumerate(agent.env)),
        volumes=_volumes(agent),
        volume_mounts=_volume_mounts(agent),
        security_context=_security_context(agent),
        agent=settings,
        default_mode=_read("injection.defaultMode", parse_choice, Mode, file.injection.default_mode),
        excluded_namespaces=frozenset({"kube-system", *file.injection.excluded_namespaces}),
        pod_opt_in=file.injection.pod_opt_in,
    )


def _agent_settings(agent: Agent) -> AgentSettings:
    for index, cidr in enumerate(agent.allowed_cidrs):
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            raise ConfigError(f"agent.allowedCIDRs[{index}]: {error}") from None
    if not 1 <= agent.node_port <= MAX_PORT:
        raise ConfigError(f"agent.nodePort: {agent.node_port} is not a port from 1 to {MAX_PORT}")
    choice = parse_choice
    return AgentSettings(
        timeout=_read("agent.timeout", parse_timeout, agent.timeout),
        allowed_cidrs=tuple(agent.allowed_cidrs),
        credentials=_read("agent.credentials", choice, Credentials, agent.credentials),
        backend=_read("agent.backend", choice, Backend, agent.backend),
        node_port=agent.node_port,
        log_level=_read("agent.logLevel", choice, LogLevel, agent.log_level),
        log_format=_read("agent.logFormat", choice, LogFormat, agent.log_format),
    )


def _read(key: str, parse: Callable[..., Value], *arguments: Any) -> Value:
    try:
        return parse(*arguments)
    except ContractError as error:
        raise ConfigError(f"{key}: {error}") from None


def _size(asked: Resources, default: Size) -> Size:
    cpu, memory = asked.cpu, asked.memory
    return Size(
        cpu=default.cpu if cpu is None else _quantity("agent.resources.cpu", agent_cpu, cpu, "10m to 999m"),
        memory=default.memory
        if memory is None
        else _quantity("agent.resources.memory", agent_memory, memory, "a quantity from 16Mi"),
    )


def _quantity(key: str, parse: Callable[[str], Decimal], value: str | float, allowed: str) -> Decimal:
    try:
        return parse(str(value))
    except ValueError:
        raise ConfigError(f"{key}: {value!r} is not {allowed}") from None


def _env(key: str, entry: Env) -> EnvVar:
    if not _ENV_NAME.fullmatch(entry.name):
        raise ConfigError(f"{key}.name: {entry.name!r} is not a name of an environment variable")
    if entry.name.startswith(ENV_PREFIX):
        raise ConfigError(f"{key}.name: {entry.name!r}: names with {ENV_PREFIX} are set by the webhook")
    return EnvVar(entry.name, entry.value)


def _volumes(agent: Agent) -> tuple[dict[str, Any], ...]:
    for index, volume in enumerate(agent.volumes):
        key = f"agent.volumes[{index}]"
        name = volume.get("name")
        if not isinstance(name, str) or not _VOLUME_NAME.fullmatch(name):
            raise ConfigError(
                f"{key}.name: {name!r} is not the name of a volume: at most 63 lower case letters, digits "
                "and inner '-'"
            )
        if name in (RUN_VOLUME, TOKEN_VOLUME):
            raise ConfigError(f"{key}.name: {name} is the agent's own volume: choose another name")
        if len(volume) != 2:
            raise ConfigError(
                f"{key}: needs name and one source, as in {{name: ca, configMap: {{name: ca}}}}"
            )
    return tuple(agent.volumes)


def _volume_mounts(agent: Agent) -> tuple[dict[str, Any], ...]:
    names = {volume["name"] for volume in agent.volumes}
    for index, mount in enumerate(agent.volume_mounts):
        key = f"agent.volumeMounts[{index}]"
        if mount.get("name") not in names:
            raise ConfigError(f"{key}.name: {mount.get('name')!r} is not one of agent.volumes")
        path = mount.get("mountPath", "")
        if not isinstance(path, str) or not path.startswith("/"):
            raise ConfigError(f"{key}.mountPath: {mount.get('mountPath')!r} is not an absolute path")
        if path.rstrip("/") in (RUN_DIRECTORY, TOKEN_DIRECTORY):
            raise ConfigError(f"{key}.mountPath: {path} is where the agent's own volume is: choose another")
    return tuple(agent.volume_mounts)


def _security_context(agent: Agent) -> dict[str, Any]:
    for key, value in agent.security_context.items():
        where = f"agent.securityContext.{key}"
        if key not in SECURITY_ADDITIONS:
            raise ConfigError(f"{where}: not one of {', '.join(SECURITY_ADDITIONS)}: the rest is fixed")
        if key.startswith("runAs") and (type(value) is not int or value < 1):
            raise ConfigError(f"{where}: {value!r} is not an id from 1: the agent never runs as root")
    return dict(agent.security_context)


def _object_name(key: str, name: object) -> str:
    if not isinstance(name, str) or not _OBJECT_NAME.fullmatch(name):
        raise ConfigError(f"{key}: {name!r} is not the name of a Kubernetes object")
    return name
