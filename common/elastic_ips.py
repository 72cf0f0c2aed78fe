"""The annotation `multus-eni.io/eip`, as webhook and controller read it: which address gets which EIP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

MAX_CLAIMS = 16
MAX_LENGTH = 2048
ALLOWED = "net1=pool/NAME or net1=eipalloc-…, where an IPv4 address may stand for net1; several with commas"

_POOL = re.compile(r"pool/([a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?)", re.ASCII)
_ALLOCATION = re.compile(r"eipalloc-([0-9a-f]{8}|[0-9a-f]{17})", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,14}", re.ASCII)
_NOT_OURS = frozenset({"eth0", "lo"})
"""Every pod has them, and their addresses are the VPC CNI's."""


@dataclass(frozen=True, slots=True)
class EipClaim:
    """One Elastic IP that a pod claims: from a pool, or that of an allocation.

    `target` is the interface whose first IPv4 address it stands for, or an address that may move between
    pods.
    """

    target: str
    pool: str = ""
    allocation: str = ""

    @property
    def address(self) -> str:
        """The target if it is an address; else empty."""
        return self.target if is_address(self.target) else ""

    @property
    def wanted(self) -> str:
        """What it asks for, as in the annotation."""
        return self.allocation or f"pool/{self.pool}"


def is_address(text: str) -> bool:
    """Return whether this is an IPv4 address."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def parse_claims(text: str) -> tuple[EipClaim, ...]:
    """Read the annotation; raises ValueError with a sentence that names what is wrong."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it has more than {MAX_LENGTH} characters")
    claims = tuple(_claims(text))
    if not 0 < len(claims) <= MAX_CLAIMS:
        raise ValueError(f"it names {len(claims)} Elastic IPs, and 1 to {MAX_CLAIMS} are possible")
    targets = [claim.target for claim in claims]
    if len(set(targets)) < len(targets):
        raise ValueError("it names an interface or address twice")
    allocations = [claim.allocation for claim in claims if claim.allocation]
    if len(set(allocations)) < len(allocations):
        raise ValueError("it names an allocation twice")
    return claims


def _claims(text: str) -> Iterator[EipClaim]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        target, _, wanted = (each.strip() for each in part.partition("="))
        numbers = set(target) <= set("0123456789.")
        if target in _NOT_OURS or not (is_address(target) if numbers else _INTERFACE.fullmatch(target)):
            raise ValueError(f"{target[:40]!r} is neither a Multus interface nor an IPv4 address")
        if pool := _POOL.fullmatch(wanted):
            yield EipClaim(target, pool=pool[1])
        elif _ALLOCATION.fullmatch(wanted):
            yield EipClaim(target, allocation=wanted)
        else:
            raise ValueError(f"{wanted[:40]!r} is neither pool/NAME nor eipalloc-…")
