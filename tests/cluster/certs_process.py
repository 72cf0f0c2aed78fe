"""`multus-eni certs` on the API server: objects of its own, a ServiceAccount with its rights, the process."""

from __future__ import annotations

import base64
import itertools
import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from tests import programs
from tests.certs.world import is_pair, verify
from tests.cluster.api import MERGE_PATCH, WEBHOOK_CONFIGURATION, Api, ApiError, Kind, Manifest
from tests.cluster.certs_rights import configuration_rules, secret_rules
from tests.cluster.configuration import Service, webhook_configuration
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import SCOPE, scope
from tests.cluster.processes import Process, ProcessError

Found = TypeVar("Found")

SECRET = Kind("v1", "Secret")
RBAC = "rbac.authorization.k8s.io"
ROLE_BINDING = Kind(f"{RBAC}/v1", "RoleBinding")
TOKEN_SECONDS = 3600
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace with a ServiceAccount for certs, and the names of what it looks after."""

    api: Api
    plane: ControlPlane
    namespace: str
    folder: Path
    secret: str = "multus-eni-tls"
    service: str = "multus-eni-injector"

    @property
    def configuration(self) -> str:
        """The configuration's name; it is not namespaced."""
        return f"certs-{self.namespace}"

    @property
    def dns_name(self) -> str:
        """The name that the API server checks."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def flags(self) -> list[str]:
        """The flags that name the objects."""
        return [
            f"--namespace={self.namespace}",
            f"--secret={self.secret}",
            f"--configuration={self.configuration}",
            f"--service={self.service}",
        ]

    def kubeconfig(self) -> Path:
        """Write a kubeconfig with a fresh token of the ServiceAccount, in a file of its own."""
        token = self.folder / f"{self.namespace}.token"
        token.write_text(request_token(self.plane, self.namespace, "certs"), encoding="ascii")
        path = self.folder / f"{self.namespace}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "it",
                    "cluster": {"server": self.plane.url, "certificate-authority": str(self.plane.ca)},
                }
            ],
            "users": [{"name": "it", "user": {"tokenFile": token.name}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def data(self) -> dict[str, bytes]:
        """Return the Secret's content; empty where there is no Secret."""
        try:
            found = self.api.get(SECRET, self.secret, self.namespace).get("data") or {}
        except ApiError as error:
            if not error.not_found:
                raise
            return {}
        return {key: base64.b64decode(value) for key, value in found.items()}

    def set_data(self, **values: bytes | None) -> None:
        """Damage the Secret: `tls_crt` stands for `tls.crt`, None removes a key."""
        data = {
            key.replace("_", "."): None if value is None else base64.b64encode(value).decode()
            for key, value in values.items()
        }
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{self.secret}"
        patch(self.plane, path, {"data": data})

    def delete_secret(self) -> None:
        """Delete the Secret."""
        self.api.delete(SECRET, self.secret, self.namespace)

    def bundles(self) -> dict[str, bytes]:
        """Return caBundle by entry; empty where there is no configuration."""
        try:
            found = self.api.get(WEBHOOK_CONFIGURATION, self.configuration)
        except ApiError as error:
            if not error.not_found:
                raise
            return {}
        return {
            each["name"]: base64.b64decode(each["clientConfig"].get("caBundle", ""))
            for each in found.get("webhooks", [])
        }

    def manifest(self, *, behind_service: bool = False) -> Manifest:
        """Make the configuration without caBundle, as the chart does.

        It is for the pods of namespaces with this one's scope alone. Nobody listens where it calls, unless
        that is the Service.
        """
        service = Service("https://127.0.0.1:1", b"")
        made = webhook_configuration(service, name=self.configuration, scope=scope(self.namespace))
        for webhook in made["webhooks"]:
            path = urlsplit(webhook["clientConfig"]["url"]).path
            called = {"name": self.service, "namespace": self.namespace, "path": path}
            del webhook["clientConfig"]["caBundle"]
            if behind_service:
                webhook["clientConfig"] = {"service": called}
        return made

    def set_bundles(self, bundles: dict[str, bytes]) -> None:
        """Write caBundle of some entries, as somebody with an editor would."""
        found = self.api.get(WEBHOOK_CONFIGURATION, self.configuration)
        for webhook in found["webhooks"]:
            if webhook["name"] in bundles:
                webhook["clientConfig"]["caBundle"] = base64.b64encode(bundles[webhook["name"]]).decode()
        self.replace_webhooks(found["webhooks"])

    def replace_webhooks(self, webhooks: list[Manifest]) -> None:
        """Write all entries of the configuration."""
        path = f"/apis/{WEBHOOK_CONFIGURATION.api_version}/mutatingwebhookconfigurations/{self.configuration}"
        patch(self.plane, path, {"webhooks": webhooks})

    def delete_configuration(self) -> None:
        """Delete the configuration."""
        self.api.delete(WEBHOOK_CONFIGURATION, self.configuration)

    def disagreement(self, when: float | None = None) -> str | None:
        """Say why the API server would not trust the Secret's leaf at an instant, by default now."""
        data, bundles = self.data(), self.bundles()
        leaf = data.get("tls.crt", b"")
        if not is_pair(leaf, data.get("tls.key", b"")):
            return "the Secret holds no pair"
        if not bundles:
            return "there is no configuration"
        at = time.time() if when is None else when
        problems = {verify(leaf, bundle, self.dns_name, at) for bundle in bundles.values()} - {None}
        return str(problems) if problems else None

    def in_order(self) -> bool:
        """Return whether they agree, and everything that is trusted is in the Secret's ca.crt."""
        held = self.data().get("ca.crt")
        return self.disagreement() is None and set(self.bundles().values()) == {held}

    def one_authority(self) -> bool:
        """Return whether no older CA is left."""
        return self.data().get("ca.crt", b"").count(b"BEGIN CERTIFICATE") == 1

    def status(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `multus-eni certs status`."""
        return subprocess.run(
            [programs.MULTUS_ENI, "certs", "status", *self.flags, *options],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig())},
            capture_output=True,
            text=True,
            check=False,
        )


def patch(plane: ControlPlane, path: str, body: Manifest) -> None:
    """Send a merge patch as the administrator."""
    with _admin(plane) as http:
        http.patch(path, json=body, headers={"Content-Type": MERGE_PATCH}).raise_for_status()


def request_token(plane: ControlPlane, namespace: str, account: str) -> str:
    """Ask for a token of a ServiceAccount, as the kubelet does for a pod."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    with _admin(plane) as http:
        answer = http.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", json=body)
        answer.raise_for_status()
        token: str = answer.json()["status"]["token"]
        return token


def _admin(plane: ControlPlane) -> httpx.Client:
    return httpx.Client(
        base_url=plane.url,
        headers={"Authorization": f"Bearer {plane.admin.token}"},
        verify=ssl.create_default_context(cafile=str(plane.ca)),
        trust_env=False,
    )


def make_place(plane: ControlPlane, api: Api, namespace: str, folder: Path) -> Place:
    """Make the namespace, the ServiceAccount and its rights."""
    place = Place(api, plane, namespace, folder)
    named = {"name": "certs"}
    subjects = [{"kind": "ServiceAccount", "name": "certs", "namespace": namespace}]
    cluster_role = f"certs-{namespace}"
    for manifest in (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {SCOPE: namespace}},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**named, "namespace": namespace}},
        _role("Role", {**named, "namespace": namespace}, secret_rules(place.secret)),
        _binding("RoleBinding", {**named, "namespace": namespace}, ("Role", "certs"), subjects),
        _role("ClusterRole", {"name": cluster_role}, configuration_rules(place.configuration)),
        _binding("ClusterRoleBinding", {"name": cluster_role}, ("ClusterRole", cluster_role), subjects),
    ):
        api.create(manifest)
    return place


def _role(kind: str, metadata: Manifest, rules: list[dict[str, Any]]) -> Manifest:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _binding(kind: str, metadata: Manifest, role: tuple[str, str], subjects: list[Manifest]) -> Manifest:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": role[0], "name": role[1]},
        "subjects": subjects,
    }


class Certs:
    """`multus-eni certs run` with the ServiceAccount's own token, from `with` to the end of its block."""

    def __init__(self, place: Place, name: str = "certs", flags: Sequence[str] = ()) -> None:
        argv = [
            programs.MULTUS_ENI,
            "certs",
            "run",
            *place.flags,
            "--host=127.0.0.1",
            "--port=0",
            *flags,
        ]
        log = place.folder / f"{place.namespace}-{name}-{next(_numbers)}.log"
        self.process = Process(name, argv, log=log, env={"KUBECONFIG": str(place.kubeconfig())})

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.process.end()
        except ProcessError:
            # The error of the block says more.
            if error is None:
                raise

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of one event, such as `wrote`."""
        return self.process.events(event)

    def wrote(self) -> list[str]:
        """Return what it has done, in order."""
        return [str(line["action"]) for line in self.events("wrote")]

    def get(self, path: str) -> httpx.Response:
        """Ask its port for probes and metrics."""
        started = self.process.wait_until(lambda: self.events("started"), "line that it has started", 30)
        # Otherwise it reads the certificates of all the CAs that the system trusts, for 20 ms.
        with httpx.Client(verify=False, trust_env=False) as http:
            return http.get(f"http://127.0.0.1:{started[0]['port']}{path}")

    def until(self, condition: Callable[[], Found | None], what: str, timeout: float = 60.0) -> Found:
        """Wait for something that it does."""
        return self.process.wait_until(condition, what, timeout)
