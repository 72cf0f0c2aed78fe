"""Messages of a session: a pod's statements in, its statuses out, each a line of JSON. No I/O.

Everything that a pod may state is bounded here, in size and in depth, before it becomes a claim, and the work
grows with the size of a statement and no faster. What both sides agree on is in `ipagent.node_protocol`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from common.agent_settings import Mode, Takeover
from common.shorten import without_middle
from ipagent.assign.addresses import Detection, IPAddress, IPNetwork, Link, LinkAddress, Route, Snapshot
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.http1 import BadRequest, too_large
from ipagent.node_protocol import (
    MAX_ADDRESSES,
    MAX_AGAIN,
    MAX_ANSWER,
    MAX_CIDRS,
    MAX_LINKS,
    MAX_NAMES,
    MAX_ROUTES,
    MAX_STATEMENT,
    MAX_TEXT,
    AnswerKey,
    StatementKey,
)

MAX_NAME = 253
"""Characters of a pod's name (RFC 1123, a DNS subdomain), and of any other name."""
MAX_DEPTH = 8
"""Nested lists and objects; a statement has three."""
MAX_NUMBER = 1 << 32
"""Above every index and set of flags: 32 bits (linux/rtnetlink.h)."""
MAX_SERIAL = 1 << 53
"""Above it JSON numbers lose digits (RFC 8259, section 6)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Statement:
    """A claim, and the number by which the pod tells its own statements apart."""

    claim: Claim
    serial: int
    weight: int = field(default=0, compare=False)
    """Bytes that the claim takes in memory, roughly."""


def read_statement(line: bytes) -> Statement:
    """Parse a statement; keys that this release does not know are ignored. Raises BadRequest."""
    found = _json(line)
    # Of any number: a later release adds keys, or uses another path.
    _number(found, StatementKey.CONTRACT, MAX_NUMBER, 1)
    pod = _object(found.get(StatementKey.POD, {}), StatementKey.POD)
    key = PodKey(
        *(_name(pod, part) for part in (StatementKey.NAMESPACE, StatementKey.NAME, StatementKey.UID))
    )
    claim = Claim(
        pod=key,
        mode=_choice(Mode, found, StatementKey.MODE, Mode.INIT),
        snapshot=Snapshot(
            links=_list(found, StatementKey.LINKS, MAX_LINKS, _link),
            addresses=_list(found, StatementKey.ADDRESSES, MAX_ADDRESSES, _address),
            routes=_list(found, StatementKey.ROUTES, MAX_ROUTES, _route),
        ),
        interfaces=_list(
            found, StatementKey.INTERFACES, MAX_NAMES, lambda each: _short(each, "an interface")
        ),
        takeover=_choice(Takeover, found, StatementKey.TAKEOVER, Takeover.ALWAYS),
        release_on_exit=_flag(found, StatementKey.RELEASE_ON_EXIT),
        allowed=_list(found, StatementKey.ALLOWED_CIDRS, MAX_CIDRS, _network),
        again=frozenset(_list(found, StatementKey.AGAIN, MAX_AGAIN, _ip)),
        leaving=_flag(found, StatementKey.LEAVING),
        restarted=_flag(found, StatementKey.RESTARTED),
        eip_wait=_flag(found, StatementKey.EIP_WAIT),
    )
    return Statement(
        claim, _number(found, StatementKey.SERIAL, MAX_SERIAL, 0), len(line) + _ENTRY * _entries(claim)
    )


_ENTRY = 320
"""Bytes that an entry of a list takes in memory, and its part of what is made of it; a network takes three
times as much."""


def _entries(claim: Claim) -> int:
    seen = claim.snapshot
    networks = len(seen.routes) + len(claim.allowed)
    return len(seen.links) + len(seen.addresses) + len(claim.interfaces) + len(claim.again) + 3 * networks


def _json(line: bytes) -> Mapping[str, Any]:
    if len(line) > MAX_STATEMENT:
        raise too_large()
    try:
        # Not json.loads(line), which would guess UTF-16 and UTF-32 too.
        found = json.loads(line.decode())
    except ValueError:
        raise BadRequest("A statement is not JSON") from None
    except RecursionError:
        raise _too_deep() from None
    if _deeper_than(MAX_DEPTH, found):
        raise _too_deep()
    return _object(found, "a statement")


def _deeper_than(most: int, found: Any) -> bool:
    """Return whether lists and objects are nested more than `most` deep; looks at each value once."""
    level = [found]
    for _ in range(most + 1):
        level = [inner for each in level for inner in _inside(each)]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    """Return what a list or an object holds; an empty one counts as a level too."""
    if isinstance(value, dict):
        return value.values() or (None,)
    return (value or (None,)) if isinstance(value, list) else ()


def _too_deep() -> BadRequest:
    return BadRequest(f"A statement is nested more than {MAX_DEPTH} deep")


def _object(found: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise BadRequest(f"{what} is not a JSON object")
    return found


def _list(found: Mapping[str, Any], key: str, most: int, read: Callable[[Any], T]) -> tuple[T, ...]:
    entries = found.get(key, [])
    if not isinstance(entries, list):
        raise BadRequest(f"{key} is not a list")
    if len(entries) > most:
        raise BadRequest(f"{key} has {len(entries)} entries, and no more than {most} are accepted")
    return tuple(read(entry) for entry in entries)


def _link(entry: Any) -> Link:
    found = _object(entry, "a link")
    mac = _short(found.get(StatementKey.MAC, ""), "a link's mac")
    index = _number(found, StatementKey.INDEX, MAX_NUMBER, 0)
    return Link(index, _name(found, StatementKey.NAME), mac, loopback=_flag(found, StatementKey.LOOPBACK))


def _address(entry: Any) -> LinkAddress:
    found = _object(entry, "an address")
    index, scope, flags = (
        _number(found, key, MAX_NUMBER, 0)
        for key in (StatementKey.INDEX, StatementKey.SCOPE, StatementKey.FLAGS)
    )
    return LinkAddress(index, _ip(found.get(StatementKey.ADDRESS)), scope, Detection.from_flags(flags))


def _route(entry: Any) -> Route:
    found = _object(entry, "a route")
    return Route(
        _number(found, StatementKey.INDEX, MAX_NUMBER, 0), _network(found.get(StatementKey.DESTINATION))
    )


def _ip(entry: Any) -> IPAddress:
    try:
        return ip_address(_without_zone(entry, "an address"))
    except ValueError:
        raise BadRequest(f"{entry!r} is not an IP address") from None


def _network(entry: Any) -> IPNetwork:
    try:
        return ip_network(_without_zone(entry, "a CIDR"), strict=False)
    except ValueError:
        raise BadRequest(f"{entry!r} is not a CIDR") from None


def _without_zone(entry: Any, what: str) -> str:
    """Return the text. A zone (RFC 4007) may be any text, and would make two of one address.

    EC2 and the API server would refuse all addresses of the same call or write.
    """
    text = _short(entry, what)
    if "%" in text:
        raise BadRequest(f"{what} has a zone: {text!r}")
    return text


def _name(found: Mapping[str, Any], key: str) -> str:
    text = _short(found.get(key), key)
    if not text:
        raise BadRequest(f"{key} is missing")
    return text


def _short(text: Any, what: str) -> str:
    if not isinstance(text, str) or len(text) > MAX_NAME:
        raise BadRequest(f"{what} is not a text of at most {MAX_NAME} characters")
    return text


def _flag(found: Mapping[str, Any], key: str) -> bool:
    value = found.get(key, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{key} is neither true nor false")
    return value


def _number(found: Mapping[str, Any], key: str, above: int, least: int) -> int:
    value = found.get(key, least)
    # bool is an int to Python, not to JSON.
    if type(value) is not int or not least <= value < above:
        raise BadRequest(f"{key} is not a number from {least} to {above - 1}")
    return value


def _choice(kind: Callable[[str], T], found: Mapping[str, Any], key: str, default: T) -> T:
    try:
        return kind(found.get(key, default))
    except ValueError:
        raise BadRequest(f"{key} is not known") from None


def answer(status: ClaimStatus, serial: int) -> bytes:
    """Return a status as one line of at most MAX_ANSWER bytes."""
    document: dict[str, Any] = {
        AnswerKey.SERIAL: serial,
        AnswerKey.STATE: str(status.state),
        AnswerKey.CODE: int(status.code),
        AnswerKey.MESSAGE: without_middle(status.message, MAX_TEXT),
    }
    addresses = [
        {
            AnswerKey.ADDRESS: str(each.address),
            AnswerKey.INTERFACE: each.interface,
            AnswerKey.STATE: str(each.phase),
            AnswerKey.ENI: each.eni,
            AnswerKey.MESSAGE: each.text,
        }
        for each in status.addresses
    ]
    # Hundreds of addresses: the message says the most important in any case.
    for listed in (addresses, [{**each, AnswerKey.MESSAGE: ""} for each in addresses]):
        line = _line({**document, AnswerKey.ADDRESSES: listed})
        if len(line) <= MAX_ANSWER and len(listed) <= MAX_ADDRESSES:
            return line
    return _line(document)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
