"""A cluster in simulated time: both objects with their history, API servers and replicas that see them late.

Nothing here knows how the loop decides. What a replica may serve and what an API server may trust at an
instant are sets: everything that their delays allow. Chains are checked by cryptography's verifier, as
the API server would.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, VerificationError
from cryptography.x509.verification import Store as TrustStore

from common.kube.client import Answer
from common.kube.errors import ApiError

Object = dict[str, Any]
START = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Served:
    """A usable pair that was in the Secret; `ours` where the loop put it there."""

    certificate: bytes
    ours: bool


@dataclass(slots=True)
class World:
    """The objects, and who sees which state of them. Times are seconds."""

    name: str
    propagation: float
    api_propagation: float
    entries: tuple[str, ...] = ("a.multus-eni.io", "b.multus-eni.io")
    time: float = START
    version: int = 0
    tells_time: bool = True
    """Whether answers carry the API server's time."""
    requests: int = 0
    """How many there were."""
    secret: Object | None = None
    configuration: Object | None = None
    written_by_us: frozenset[str] = frozenset()
    """Entries whose present caBundle the loop wrote."""
    served: dict[Served, float | None] = field(default_factory=dict)
    """What a replica may serve, and when the last replica stops doing so."""
    views: list[tuple[float | None, frozenset[bytes]]] = field(default_factory=list)
    """Sets of caBundles that the loop wrote, and when the last API server forgets them."""

    def __post_init__(self) -> None:
        self.recreate()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def put_secret(self, data: Mapping[str, bytes] | None, *, ours: bool) -> None:
        """Store the Secret's content, None for no Secret."""
        if data is None:
            self.secret = None
        else:
            encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
            self.secret = {"metadata": {"resourceVersion": self._next()}, "data": encoded}
        self._replicas_see(data or {}, ours)

    def put_bundles(self, bundles: Mapping[str, bytes], *, ours: bool) -> None:
        """Store caBundle of some entries."""
        assert self.configuration is not None
        self.configuration["metadata"]["resourceVersion"] = self._next()
        for webhook in self.configuration["webhooks"]:
            if webhook["name"] in bundles:
                webhook["clientConfig"]["caBundle"] = base64.b64encode(bundles[webhook["name"]]).decode()
        changed = frozenset(bundles)
        self.written_by_us = self.written_by_us | changed if ours else self.written_by_us - changed
        self._api_servers_see()

    def recreate(self) -> None:
        """Delete the configuration and create it as the chart does, without caBundle."""
        self.configuration = {
            "metadata": {"resourceVersion": self._next(), "uid": f"uid-{self.version}"},
            "webhooks": [{"name": name, "clientConfig": {}} for name in self.entries],
        }
        self.written_by_us = frozenset()
        self._api_servers_see()

    def remove_configuration(self) -> None:
        """Delete the configuration."""
        self.configuration = None
        self.written_by_us = frozenset()
        self._api_servers_see()

    def data(self) -> dict[str, bytes]:
        """Return the Secret's content."""
        return {key: base64.b64decode(value) for key, value in (self.secret or {}).get("data", {}).items()}

    def bundles(self) -> dict[str, bytes]:
        """Return caBundle by entry."""
        return {
            webhook["name"]: base64.b64decode(webhook["clientConfig"].get("caBundle", ""))
            for webhook in (self.configuration or {}).get("webhooks", [])
        }

    def possible(self) -> tuple[list[Served], list[bytes]]:
        """Return what some replica may serve now, and what some API server may trust now."""
        served = [each for each, until in self.served.items() if until is None or self.time < until]
        views = [view for until, view in self.views if until is None or self.time < until]
        return served, sorted(frozenset[bytes]().union(*views))

    def disagreements(self) -> Iterator[str]:
        """Name each pair of a replica and an API server that would not agree now."""
        served, bundles = self.possible()
        for each in served:
            for bundle in bundles:
                if each.ours and (problem := verify(each.certificate, bundle, self.name, self.time)):
                    yield problem

    def remembered(self) -> tuple[bool, bool]:
        """Return whether ca.crt, and each caBundle, still hold the issuers of all that may be served."""
        served = [each.certificate for each in self.possible()[0] if each.ours]
        bundles = list(self.bundles().values())
        held = self.data().get("ca.crt", b"")
        return (
            all(_chains(each, held) for each in served),
            bool(bundles) and all(_chains(each, bundle) for each in served for bundle in bundles),
        )

    def authorities(self) -> int:
        """Count what the objects hold, without looking what is the same."""
        texts = [self.data().get("ca.crt", b""), *self.bundles().values()]
        return max(text.count(b"BEGIN CERTIFICATE") for text in texts)

    def _next(self) -> str:
        self.version += 1
        return str(self.version)

    def _replicas_see(self, data: Mapping[str, bytes], ours: bool) -> None:
        usable = is_pair(data.get("tls.crt", b""), data.get("tls.key", b""))
        self.served = {
            each: until for each, until in self.served.items() if until is None or self.time < until
        }
        if not usable:
            # A replica that looks now keeps what it has: nobody stops before there is a usable pair again.
            self.served = dict.fromkeys(self.served)
            return
        certificate = data["tls.crt"]
        known = any(each.ours for each in self.served if each.certificate == certificate)
        new = Served(certificate, ours or known)
        ends = self.time + self.propagation
        self.served = {
            each: ends if until is None else until for each, until in self.served.items() if each != new
        }
        self.served[new] = None

    def _api_servers_see(self) -> None:
        ends = self.time + self.api_propagation
        kept = [(ends if until is None else until, view) for until, view in self.views]
        self.views = [(until, view) for until, view in kept if self.time < until]
        now = frozenset(bundle for name, bundle in self.bundles().items() if name in self.written_by_us)
        self.views.append((None, now))


def verify(leaf: bytes, bundle: bytes, name: str, when: float) -> str | None:
    """Say why an API server that trusts `bundle` refuses `leaf`, None if it does not."""
    begins, ends, problem = _verified(leaf, bundle, name)
    return problem if problem or begins <= when < ends else f"not valid at {when:.0f}"


@lru_cache(maxsize=4096)
def _verified(leaf: bytes, bundle: bytes, name: str) -> tuple[float, float, str | None]:
    """Return from when until when the chain is valid, and what is wrong with it besides."""
    certificate = x509.load_pem_x509_certificate(leaf)
    try:
        trusted = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return 0, 0, "the bundle holds no certificate"
    chain = [certificate, *(each for each in trusted if each.subject == certificate.issuer)]
    begins = max(each.not_valid_before_utc for each in chain)
    ends = min(each.not_valid_after_utc for each in chain)
    policy = PolicyBuilder().store(TrustStore(trusted)).time(begins)
    try:
        policy.build_server_verifier(x509.DNSName(name)).verify(certificate, [])
    except VerificationError as error:
        return 0, 0, str(error)
    return begins.timestamp(), ends.timestamp(), None


def _chains(leaf: bytes, bundle: bytes) -> bool:
    """Return whether the issuer is in the bundle, whatever the time."""
    certificate = x509.load_pem_x509_certificate(leaf)
    try:
        trusted = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return False
    return any(each.subject == certificate.issuer for each in trusted)


def is_pair(certificate: bytes, key: bytes) -> bool:
    """Return whether both can be read, and belong together."""
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
        return load_pem_private_key(key, None).public_key() == public
    except ValueError:
        return False


class FakeClient:
    """Stands for `kube.Client` in a world; `between` is called before each request and after each write."""

    def __init__(self, world: World, between: Callable[[str], None]) -> None:
        self._world = world
        self._between = between

    def get(self, path: str, what: str) -> Answer:
        """Read one object."""
        self._world.requests += 1
        self._between("read")
        found = self._world.secret if "/secrets/" in path else self._world.configuration
        if found is None:
            raise ApiError(404, "NotFound", "not found", what, time=self._time())
        return Answer(copy.deepcopy(found), self._time())

    def _time(self) -> float | None:
        return self._world.time if self._world.tells_time else None

    def merge(self, _path: str, what: str, body: Object, **_: object) -> None:
        """Change the Secret, if its resourceVersion is the one in the body."""
        self._between("write")
        if self._world.secret is None:
            raise ApiError(404, "NotFound", "not found", what)
        _same(body["metadata"], self._world.secret["metadata"], what, "resourceVersion")
        self._world.put_secret({**self._world.data(), **_decoded(body["data"])}, ours=True)
        self._between("written")

    def apply(self, path: str, what: str, body: Object, **_: object) -> None:
        """Create the Secret, if there is none; or write caBundle, if the configuration is as in the body."""
        self._between("write")
        if "/secrets/" in path:
            if self._world.secret is not None:
                raise ApiError(409, "Conflict", "conflict with another field manager", what)
            self._world.put_secret(_decoded(body["data"]), ours=True)
        else:
            present = self._world.configuration
            if present is None:
                raise ApiError(409, "Conflict", "uid mismatch", what)
            _same(body["metadata"], present["metadata"], what, "uid", "resourceVersion")
            bundles = {each["name"]: each["clientConfig"]["caBundle"] for each in body["webhooks"]}
            self._world.put_bundles(_decoded(bundles), ours=True)
        self._between("written")


def _same(given: Object, present: Object, what: str, *keys: str) -> None:
    if any(given[key] != present[key] for key in keys):
        raise ApiError(409, "Conflict", "the object has been modified", what)


def _decoded(values: Mapping[str, str]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in values.items()}
