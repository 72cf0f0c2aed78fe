"""The pod's own settings: its `multus-eni.io/` annotations, parsed strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from common import pod_keys
from common.agent_settings import Credentials, Mode, Takeover, parse_flag, parse_list, parse_timeout
from common.elastic_ips import ALLOWED, EipClaim, parse_claims
from common.quantity import MEBIBYTE, parse_quantity
from common.shorten import shortened
from webhook.core.requested_units import UNITS_ALLOWED, Units, parse_units
from webhook.multus.names import INTERFACES_OF_EVERY_POD, is_interface

Value = TypeVar("Value")

MIN_AGENT_CPU = Decimal("0.01")
MAX_AGENT_CPU = Decimal("0.999")
"""The API server rounds a quantity of CPU up to whole millicores, and a whole core would be pinned."""
MIN_AGENT_MEMORY = Decimal(16 * MEBIBYTE)
MAX_IMAGE_LENGTH = 512
MAX_INTERFACES = 256
"""More than any pod attaches to in practice, and few enough for an environment variable."""


class Refusal(Exception):
    """The pod must be refused. The text names what is wrong and what the user does next."""


def not_allowed(key: str, value: str, allowed: str) -> Refusal:
    """Make the refusal of a value of one of our keys: it names key, value and what is allowed."""
    return Refusal(f"{key}: {shortened(value)!r} is not allowed; allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the pod's annotations set, None for those that are absent.

    `timeout` is in seconds, `agent_cpu` in cores, `agent_memory` in bytes. `unknown` are keys with our prefix
    that mean nothing.
    """

    mode: Mode | None = None
    interfaces: tuple[str, ...] | None = None
    release_on_exit: bool | None = None
    takeover: Takeover | None = None
    timeout: int | None = None
    credentials: Credentials | None = None
    agent_cpu: Decimal | None = None
    agent_memory: Decimal | None = None
    agent_image: str | None = None
    units: Units | None = None
    eips: tuple[EipClaim, ...] = ()
    eip_wait: bool | None = None
    unknown: tuple[str, ...] = ()

    @property
    def awaited(self) -> tuple[str, ...]:
        """The interfaces whose Elastic IP the app waits for; an address that moves may be elsewhere."""
        return tuple(claim.target for claim in self.eips if not claim.address) if self.eip_wait else ()


def read_annotations(annotations: Mapping[str, str]) -> PodSettings:
    """Parse our annotations. Raises Refusal at the first value that is not allowed."""
    if not any(map(_is_ours, annotations)):
        return _NOTHING_SET

    def read(key: str, parse: Callable[[str], Value], allowed: str) -> Value | None:
        text = annotations.get(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError:
            raise not_allowed(key, text, allowed) from None

    return PodSettings(
        mode=read(pod_keys.MODE, Mode, ", ".join(Mode)),
        interfaces=read(
            pod_keys.INTERFACES, _interfaces, "names of the pod's Multus interfaces, as in net1,net2"
        ),
        release_on_exit=read(pod_keys.RELEASE_ON_EXIT, parse_flag, "true, false"),
        takeover=read(pod_keys.TAKEOVER, Takeover, ", ".join(Takeover)),
        timeout=read(pod_keys.TIMEOUT, parse_timeout, "a duration from 1s to 60m, as in 90s or 2m"),
        credentials=read(pod_keys.CREDENTIALS, Credentials, ", ".join(Credentials)),
        agent_cpu=read(
            pod_keys.AGENT_CPU, agent_cpu, "10m to 999m: a whole core would be pinned for the agent"
        ),
        agent_memory=read(pod_keys.AGENT_MEMORY, agent_memory, "a quantity from 16Mi"),
        agent_image=read(pod_keys.AGENT_IMAGE, _image, "an image reference"),
        units=read(pod_keys.UNITS, parse_units, UNITS_ALLOWED),
        eips=read(pod_keys.EIP, parse_claims, ALLOWED) or (),
        eip_wait=read(pod_keys.EIP_WAIT, parse_flag, "true, false"),
        unknown=tuple(key for key in annotations if key.startswith(pod_keys.PREFIX) and key not in KNOWN),
    )


_is_ours = re.compile(re.escape(pod_keys.PREFIX)).match
_NOTHING_SET = PodSettings()
KNOWN = frozenset(
    {
        pod_keys.MODE,
        pod_keys.INTERFACES,
        pod_keys.RELEASE_ON_EXIT,
        pod_keys.TAKEOVER,
        pod_keys.TIMEOUT,
        pod_keys.CREDENTIALS,
        pod_keys.AGENT_CPU,
        pod_keys.AGENT_MEMORY,
        pod_keys.AGENT_IMAGE,
        pod_keys.UNITS,
        pod_keys.EIP,
        pod_keys.EIP_WAIT,
        pod_keys.STATUS,
    }
)
"""Annotations with our prefix that pods may have; others are typing errors."""


def _interfaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(parse_list(text)))
    # A legal name that the networks annotation does not give may still be right: Multus counts its
    # defaultNetworks first, and interfaces can be plugged into a running pod.
    if not names or len(names) > MAX_INTERFACES or not all(map(_may_be_made_by_multus, names)):
        raise ValueError(text)
    return names


def _may_be_made_by_multus(name: str) -> bool:
    return is_interface(name) and name not in INTERFACES_OF_EVERY_POD


def agent_cpu(text: str) -> Decimal:
    """Parse the agent's CPU (cores). Raises ValueError outside 10m to 999m."""
    cores = parse_quantity(text)
    if not MIN_AGENT_CPU <= cores <= MAX_AGENT_CPU:
        raise ValueError(text)
    return cores


def agent_memory(text: str) -> Decimal:
    """Parse the agent's memory (bytes). Raises ValueError below 16Mi."""
    size = parse_quantity(text)
    if size < MIN_AGENT_MEMORY:
        raise ValueError(text)
    return size


def _image(text: str) -> str:
    if not text or len(text) > MAX_IMAGE_LENGTH or not text.isprintable() or " " in text:
        raise ValueError(text)
    return text
