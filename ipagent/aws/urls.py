"""URLs of servers. Pure.

The usual ones are read without `urllib.parse`, whose import is a fiftieth of what an agent executes until EC2
has answered; all others are read by it.
"""

from __future__ import annotations

from common.frozen_dataclass import dataclass

PORTS = {"http": 80, "https": 443}
_IN_NAMES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_IN_PATHS = _IN_NAMES | {"/", "_"}
_MAX_PORT = "65535"


@dataclass(frozen=True)
class Url:
    """The parts of a URL as `urllib.parse.urlsplit` names them; `hostname` is empty where there is none."""

    scheme: str
    netloc: str
    hostname: str
    port: int | None
    path: str
    query: str


def split_url(url: str) -> Url:
    """Read a URL; raises ValueError."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    name, colon, port = authority.partition(":")
    usual = scheme in PORTS and name and (not colon or _is_port(port))
    if usual and _IN_NAMES.issuperset(name) and _IN_PATHS.issuperset(path):
        return Url(scheme, authority, name, int(port) if colon else None, slash + path, "")
    from urllib.parse import urlsplit  # noqa: PLC0415 - see the module's docstring

    parts = urlsplit(url)
    return Url(parts.scheme, parts.netloc, parts.hostname or "", parts.port, parts.path, parts.query)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and (len(text), text) <= (len(_MAX_PORT), _MAX_PORT)


def host_of(url: str) -> str:
    """Return the header `Host`: without the port where that is the usual one."""
    parts = split_url(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if parts.port in (None, PORTS[parts.scheme]) else f"{host}:{parts.port}"
