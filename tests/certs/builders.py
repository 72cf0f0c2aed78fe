"""Certificates and states for tests of the pure modules."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from certs.issue import Pair, issue_leaf, make_authority
from certs.rotation import Now, Settings
from certs.state import Object, SeenSince, State, read_state
from certs.x509 import Certificate, read_certificate, to_pem

DAY = 86400.0
NOW = 1_800_000_000.0
NAME = "injector.system.svc"
SETTINGS = Settings(frozenset({NAME}), 60 * DAY, 200 * DAY, propagation=300.0, api_propagation=10.0)


@dataclass(frozen=True, slots=True)
class Made:
    """A pair, and what its certificate says."""

    pair: Pair
    certificate: Certificate


@cache
def authority(number: int = 1, *, made: float = NOW, lifetime: float = 200 * DAY) -> Made:
    """Make a CA; the same for the same arguments."""
    assert number
    return _made(make_authority(made, lifetime))


@cache
def leaf(
    by: Made, *, made: float = NOW, lifetime: float = 60 * DAY, names: tuple[str, ...] = (NAME,)
) -> Made:
    """Issue a leaf; the same for the same arguments."""
    return _made(issue_leaf(by.certificate, by.pair.key, names, made, lifetime))


def secret(
    *,
    authorities: Sequence[Made] = (),
    signing: Made | None = None,
    leaf: Made | None = None,
    **more: bytes,
) -> Object:
    """Make a Secret; `more` overrides keys, with `_` for `.`."""
    data = {"ca.crt": to_pem(each.certificate for each in authorities)}
    if signing:
        data["ca.key"] = signing.pair.key
    if leaf:
        data |= {"tls.crt": leaf.pair.certificate, "tls.key": leaf.pair.key}
    data |= {key.replace("_", "."): value for key, value in more.items()}
    return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


def configuration(*bundles: Sequence[Made] | bytes) -> Object:
    """Make a configuration with an entry for each caBundle."""
    texts = [
        each if isinstance(each, bytes) else to_pem(made.certificate for made in each) for each in bundles
    ]
    return {
        "webhooks": [
            {
                "name": f"{number}.multus-eni.io",
                "clientConfig": {"caBundle": base64.b64encode(text).decode()} if text else {},
            }
            for number, text in enumerate(texts)
        ]
    }


def in_order(ca: Made, served: Made) -> State:
    """Return the state in which nothing is to be done."""
    return read_state(secret(authorities=[ca], signing=ca, leaf=served), configuration([ca], [ca]))


def now(days: float = 0.0, steady: float = 1e6) -> Now:
    """Return an instant so many days after NOW."""
    return Now(NOW + days * DAY, steady)


def seen(*trusted: Made, served: Made | None = None, seconds: float = 1e5, steady: float = 1e6) -> SeenSince:
    """Return that these have been in place for so many seconds."""
    since = steady - seconds
    fingerprint = served.certificate.fingerprint if served else ""
    return SeenSince(fingerprint, since, {each.certificate.fingerprint: since for each in trusted})


def _made(pair: Pair) -> Made:
    certificate = read_certificate(pair.certificate)
    assert certificate
    return Made(pair, certificate)
