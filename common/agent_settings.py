"""The contract between webhook and agent: the settings of an injected container, as its environment.

The webhook writes an agent's settings with `AgentSettings.to_env`, the agent reads them with
`AgentSettings.from_env`. Both are released together, but any two releases may run together for years. So
changes only add, and `tests/cases/contract/` keeps the environment of each release.

This module imports next to nothing: a slim agent pays for every import at the start of every pod.
"""

from __future__ import annotations

from enum import StrEnum

# typing itself is not imported at run time: it costs more than this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn, TypeVar

    Choice = TypeVar("Choice", bound=StrEnum)

CONTRACT = 1
"""The contract of this release. An agent accepts every number up to its own."""

# Names in the environment.
ENV_PREFIX = "MULTUS_ENI_"
ENV_CONTRACT = ENV_PREFIX + "CONTRACT"
ENV_INTERFACES = ENV_PREFIX + "INTERFACES"
ENV_GUESSED_INTERFACES = ENV_PREFIX + "GUESSED_INTERFACES"
ENV_TIMEOUT = ENV_PREFIX + "TIMEOUT"
ENV_TAKEOVER = ENV_PREFIX + "TAKEOVER"
ENV_RELEASE_ON_EXIT = ENV_PREFIX + "RELEASE_ON_EXIT"
ENV_ALLOWED_CIDRS = ENV_PREFIX + "ALLOWED_CIDRS"
ENV_CREDENTIALS = ENV_PREFIX + "CREDENTIALS"
ENV_BACKEND = ENV_PREFIX + "BACKEND"
ENV_NODE_PORT = ENV_PREFIX + "NODE_PORT"
ENV_RESTART_POLICY = ENV_PREFIX + "RESTART_POLICY"
ENV_EIP_WAIT = ENV_PREFIX + "EIP_WAIT"
ENV_LOG_LEVEL = ENV_PREFIX + "LOG_LEVEL"
ENV_LOG_FORMAT = ENV_PREFIX + "LOG_FORMAT"
ENV_POD_NAME = ENV_PREFIX + "POD_NAME"
ENV_POD_NAMESPACE = ENV_PREFIX + "POD_NAMESPACE"
ENV_POD_UID = ENV_PREFIX + "POD_UID"
ENV_NODE_NAME = ENV_PREFIX + "NODE_NAME"
ENV_HOST_IP = ENV_PREFIX + "HOST_IP"

DOWNWARD_API = {
    ENV_POD_NAME: "metadata.name",
    ENV_POD_NAMESPACE: "metadata.namespace",
    ENV_POD_UID: "metadata.uid",
    ENV_NODE_NAME: "spec.nodeName",
    ENV_HOST_IP: "status.hostIP",
}
"""What the kubelet fills in: environment name -> field path."""

DEFAULT_TIMEOUT = 120
"""Seconds that the first assignment may take."""
MAX_TIMEOUT = 3600

DEFAULT_NODE_PORT = 9407
"""Port of the node's address at which the node agent listens."""
MAX_PORT = 65535


class Mode(StrEnum):
    """How the agent works; the value is also the sub-command of `ipagent`."""

    INIT = "init"
    SIDECAR = "sidecar"


class Takeover(StrEnum):
    """May an address be taken from another ENI?"""

    ALWAYS = "always"
    NEVER = "never"


class Credentials(StrEnum):
    """With which identity the agent calls EC2: botocore's chain, or the node's role alone."""

    CHAIN = "chain"
    NODE = "node"


class Backend(StrEnum):
    """Who calls EC2 for the pod: the agent itself, or the node agent."""

    DIRECT = "direct"
    NODE = "node"


class RestartPolicy(StrEnum):
    """The pod's `spec.restartPolicy` (core/v1 PodSpec).

    With `Never` a failed init container ends the pod for good. A native sidecar is restarted whatever the
    pod's policy is.
    """

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


_RESTART_POLICIES = {policy.value: policy for policy in RestartPolicy}


class LogLevel(StrEnum):
    """The least important event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """`auto` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class ContractError(ValueError):
    """A value breaks the contract; the text names key, value and what is allowed."""


def parse_timeout(text: str) -> int:
    """Read a duration such as `90s` or `2m` as seconds.

    Raises ContractError where it is none, or lies outside 1 second to 1 hour.
    """
    number, unit = text[:-1], text[-1:]
    # A length limit first: int() of a huge digit string is quadratic, and Python ≥ 3.11 refuses it.
    if unit in ("s", "m") and len(number) <= 5 and number.isascii() and number.isdigit():
        seconds = int(number) * (60 if unit == "m" else 1)
        if 1 <= seconds <= MAX_TIMEOUT:
            return seconds
    raise ContractError(f"{text!r} is not a duration from 1s to 60m, such as 90s or 2m")


def parse_port(text: str) -> int:
    """Read a TCP port; raises ContractError for anything else than 1 to 65535."""
    if len(text) <= 5 and text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PORT:
        return int(text)
    raise ContractError(f"{text!r} is not a port from 1 to {MAX_PORT}")


def parse_flag(text: str) -> bool:
    """Read `true` or `false`; raises ContractError for anything else."""
    if text not in ("true", "false"):
        raise ContractError(f"{text!r} is neither 'true' nor 'false'")
    return text == "true"


def parse_list(text: str) -> tuple[str, ...]:
    """Read a comma list; white space around the parts and empty parts are dropped."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def parse_choice(kind: type[Choice], text: str) -> Choice:
    """Read one of an enum's values; raises ContractError that lists them."""
    try:
        return kind(text)
    except ValueError:
        raise ContractError(f"{text!r} is not one of {', '.join(kind)}") from None


def parse_contract(text: str) -> int:
    """Read a contract number that this release understands; raises ContractError otherwise."""
    if len(text) <= 9 and text.isascii() and text.isdigit() and 1 <= int(text) <= CONTRACT:
        return int(text)
    raise ContractError(
        f"this agent understands the contracts 1 to {CONTRACT} and was given {text!r}: "
        "use an agent image at least as new as the webhook"
    )


def parse_restart_policy(text: str) -> RestartPolicy | None:
    """Read a restart policy; None for one that this release does not know.

    It only words messages: a policy that Kubernetes adds later must not fail the pod.
    """
    return _RESTART_POLICIES.get(text)


class AgentSettings:
    """Everything that the webhook tells the agent: immutable, comparable, one environment variable a field.

    `interfaces` are the pod's Multus interfaces that count; empty means that the webhook could not
    know them, and all but the default interface count. `guessed_interfaces` are those of `interfaces` that
    the user has not set by `multus-eni.io/interfaces`: the webhook read them from the networks annotation,
    which tells how many there are at least. They leave no interface out, since Multus may add others and give
    other names (`defaultNetworks`, hot-plug). `restart_policy` is the pod's, None where it is not known.
    `timeout` is in seconds. `allowed_cidrs` guards against mistakes: an address outside is refused; empty
    allows all. `credentials` counts with the backend `direct` alone, `node_port` with `node`: where the node
    agent listens on the node's address. `eip_wait` are the interfaces whose Elastic IP the first assignment
    waits for.
    """

    # Not a dataclass: importing dataclasses costs more than everything else in this module together.
    __slots__ = (
        "allowed_cidrs",
        "backend",
        "credentials",
        "eip_wait",
        "guessed_interfaces",
        "interfaces",
        "log_format",
        "log_level",
        "node_port",
        "release_on_exit",
        "restart_policy",
        "takeover",
        "timeout",
    )

    interfaces: tuple[str, ...]
    guessed_interfaces: tuple[str, ...]
    timeout: int
    takeover: Takeover
    release_on_exit: bool
    allowed_cidrs: tuple[str, ...]
    credentials: Credentials
    backend: Backend
    node_port: int
    restart_policy: RestartPolicy | None
    eip_wait: tuple[str, ...]
    log_level: LogLevel
    log_format: LogFormat

    def __init__(  # noqa: PLR0913 - one keyword a field
        self,
        *,
        interfaces: tuple[str, ...] = (),
        guessed_interfaces: tuple[str, ...] = (),
        timeout: int = DEFAULT_TIMEOUT,
        takeover: Takeover = Takeover.ALWAYS,
        release_on_exit: bool = False,
        allowed_cidrs: tuple[str, ...] = (),
        credentials: Credentials = Credentials.CHAIN,
        backend: Backend = Backend.DIRECT,
        node_port: int = DEFAULT_NODE_PORT,
        restart_policy: RestartPolicy | None = None,
        eip_wait: tuple[str, ...] = (),
        log_level: LogLevel = LogLevel.INFO,
        log_format: LogFormat = LogFormat.AUTO,
    ) -> None:
        fields = locals()
        for name in self.__slots__:
            object.__setattr__(self, name, fields[name])

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"AgentSettings is immutable: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AgentSettings) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = zip(self.__slots__, self._values(), strict=True)
        return f"AgentSettings({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def _values(self) -> tuple[object, ...]:
        # Written out: the webhook compares settings for each pod, and a loop over the names takes ten times
        # as long.
        return (
            self.allowed_cidrs,
            self.backend,
            self.credentials,
            self.eip_wait,
            self.guessed_interfaces,
            self.interfaces,
            self.log_format,
            self.log_level,
            self.node_port,
            self.release_on_exit,
            self.restart_policy,
            self.takeover,
            self.timeout,
        )

    def to_env(self) -> dict[str, str]:
        """Write these settings as environment variables, the contract number first."""
        written = {variable: encode(getattr(self, name)) for name, (variable, encode, _) in _FIELDS.items()}
        if not self.eip_wait:
            # Few pods have one, and all others have a variable less.
            del written[ENV_EIP_WAIT]
        return {ENV_CONTRACT: str(CONTRACT), **written}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> AgentSettings:
        """Read what `to_env` of this or an older release wrote; unknown variables are ignored.

        A variable that is missing or empty has its default: an older webhook did not know it. Raises
        ContractError that names the variable where a value can't be read or the contract is newer.
        """
        values: dict[str, Any] = {}
        _decode(ENV_CONTRACT, parse_contract, env.get(ENV_CONTRACT) or str(CONTRACT))
        for name, (variable, _, decode) in _FIELDS.items():
            if text := env.get(variable, ""):
                values[name] = _decode(variable, decode, text)
        return cls(**values)


def _decode(variable: str, decode: Callable[[str], Any], text: str) -> Any:
    try:
        return decode(text)
    except ContractError as error:
        raise ContractError(f"{variable}: {error}") from None


_FIELDS: dict[str, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    "interfaces": (ENV_INTERFACES, ",".join, parse_list),
    "guessed_interfaces": (ENV_GUESSED_INTERFACES, ",".join, parse_list),
    "timeout": (ENV_TIMEOUT, "{}s".format, parse_timeout),
    "takeover": (ENV_TAKEOVER, str, lambda text: parse_choice(Takeover, text)),
    "release_on_exit": (ENV_RELEASE_ON_EXIT, lambda flag: "true" if flag else "false", parse_flag),
    "allowed_cidrs": (ENV_ALLOWED_CIDRS, ",".join, parse_list),
    "credentials": (ENV_CREDENTIALS, str, lambda text: parse_choice(Credentials, text)),
    "backend": (ENV_BACKEND, str, lambda text: parse_choice(Backend, text)),
    "node_port": (ENV_NODE_PORT, str, parse_port),
    "restart_policy": (ENV_RESTART_POLICY, lambda policy: str(policy or ""), parse_restart_policy),
    "eip_wait": (ENV_EIP_WAIT, ",".join, parse_list),
    "log_level": (ENV_LOG_LEVEL, str, lambda text: parse_choice(LogLevel, text)),
    "log_format": (ENV_LOG_FORMAT, str, lambda text: parse_choice(LogFormat, text)),
}
"""Field of AgentSettings -> its variable, how it is written, how it is read."""
