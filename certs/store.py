"""Reads both objects from the API server, and writes one at a time, unless it has changed since it was read.

The Secret is changed by a merge patch with its resourceVersion. A missing Secret is created by server-side
apply, with a field manager of its own and without force: if two processes do so at once, the second gets a
conflict. It is an apply because RBAC can restrict a right to one name only where the request has that name.

caBundle is applied with the configuration's uid and resourceVersion: so the apply never creates a
configuration, and never restores a removed entry without its other fields.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from certs.state import CERTIFICATE, KEY, Object, State, data_of, read_state
from certs.x509 import Certificate, to_pem
from common.kube.client import Answer, Client
from common.kube.errors import ApiError

MANAGER = "multus-eni-certs"
"""The field manager of everything but the Secret's creation."""

_CONFIGURATION = "admissionregistration.k8s.io/v1"


class Conflict(Exception):
    """Somebody else changed the object since it was read: read again."""


@dataclass(frozen=True, slots=True)
class Names:
    """Which Secret and which MutatingWebhookConfiguration."""

    namespace: str
    secret: str
    configuration: str

    @property
    def secrets_path(self) -> str:
        """The path of the namespace's Secrets."""
        return f"/api/v1/namespaces/{quote(self.namespace, safe='')}/secrets"

    @property
    def configurations_path(self) -> str:
        """The path of all configurations."""
        return f"/apis/{_CONFIGURATION}/mutatingwebhookconfigurations"


@dataclass(frozen=True, slots=True)
class SecretMetadata:
    """Labels and annotations of a Secret that has to be made: what helm knows its own objects by."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class Observed:
    """Both objects as they were read; it holds keys, and shows none of them."""

    def __init__(self, secret: Object | None, configuration: Object | None, time: float | None) -> None:
        self.secret = secret
        self.configuration = configuration
        self.time = time
        """The API server's clock as it answered, in seconds since 1970."""
        self.state: State = read_state(secret, configuration)

    @property
    def data(self) -> dict[str, bytes]:
        """The Secret's content, keys included."""
        return data_of(self.secret)


class Reader(Protocol):
    """A client that reads objects; raises ApiError."""

    def get(self, path: str, what: str) -> Answer:
        """Read an object; `what` completes "refused to …" in errors."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def read_objects(client: Reader, names: Names) -> Observed:
    """Read both, the newest there is.

    The configuration first: a CA that another process had added to it is then in the Secret that is read
    after it, and is not taken for one to drop.
    """
    configuration, _ = _get(client, names.configurations_path, names.configuration)
    secret, time = _get(client, names.secrets_path, names.secret)
    return Observed(secret, configuration, time)


def _get(client: Reader, path: str, name: str) -> tuple[Object | None, float | None]:
    try:
        answer = client.get(f"{path}/{quote(name, safe='')}", f"read {path}/{name}")
    except ApiError as error:
        if not error.not_found:
            raise
        return None, error.time
    return answer.object, answer.time


class Store:
    """Reads and writes the objects. Methods raise ApiError, Unreachable or ClusterError."""

    def __init__(self, client: Client, names: Names, secret_metadata: SecretMetadata | None = None) -> None:
        self._client = client
        self._names = names
        self._secret_metadata = secret_metadata or SecretMetadata()

    def read(self) -> Observed:
        """Read both, the newest there is."""
        return read_objects(self._client, self._names)

    def write_secret(self, observed: Observed, data: Mapping[str, bytes]) -> None:
        """Set these keys of the Secret, creating it where it was not there. Raises Conflict too."""
        encoded = {key: base64.b64encode(value).decode("ascii") for key, value in data.items()}
        path = f"{self._names.secrets_path}/{quote(self._names.secret, safe='')}"
        if observed.secret is None:
            body = self._new_secret(encoded)
            with _conflicts():
                manager = f"{MANAGER}-{secrets.token_hex(8)}"
                self._client.apply(path, "create the Secret", body, manager=manager, force=False)
            return
        version = observed.secret["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "data": encoded}
        with _conflicts():
            self._client.merge(path, "change the Secret", body, manager=MANAGER)

    def write_ca_bundle(self, observed: Observed, authorities: Sequence[Certificate]) -> None:
        """Set caBundle of the entries that were read. Raises Conflict too."""
        if observed.configuration is None:
            raise Conflict
        metadata = observed.configuration["metadata"]
        bundle = base64.b64encode(to_pem(authorities)).decode("ascii")
        body = {
            "apiVersion": _CONFIGURATION,
            "kind": "MutatingWebhookConfiguration",
            "metadata": {
                "name": self._names.configuration,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "webhooks": [
                {"name": entry.name, "clientConfig": {"caBundle": bundle}} for entry in observed.state.entries
            ],
        }
        path = f"{self._names.configurations_path}/{quote(self._names.configuration, safe='')}"
        with _conflicts():
            self._client.apply(path, "write caBundle", body, manager=MANAGER, force=True)

    def _new_secret(self, encoded: Mapping[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._names.secret,
                "namespace": self._names.namespace,
                "labels": dict(self._secret_metadata.labels),
                "annotations": dict(self._secret_metadata.annotations),
            },
            "type": "kubernetes.io/tls",
            # The API server wants both keys in this type, if only empty.
            "data": {CERTIFICATE: "", KEY: "", **encoded},
        }


@contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        if error.outdated:
            raise Conflict(error.message) from error
        raise
