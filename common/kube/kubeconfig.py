"""Reads kubeconfig files (client-go, tools/clientcmd/api/v1) for the cluster's programs outside of a pod.

Commands on a laptop read them by the official client: common/kube/kubeconfig_client.py.

Supported: tokens and token files, client certificates, exec plugins (`aws eks get-token`), CAs as data or
file. Not: proxies, impersonation, basic authentication and the removed auth providers.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from common.kube.client import Endpoint
from common.kube.credentials import bearer_header, tls_context
from common.kube.errors import ClusterError

EXEC_TIMEOUT = 60
"""Seconds for a credential plugin: it may ask a person something."""

Part = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """The current context of a kubeconfig; relative paths are relative to its file's folder."""

    endpoint: Endpoint
    cluster: Part
    user: Part
    cluster_folder: Path
    user_folder: Path

    def context(self) -> ssl.SSLContext:
        """Trust the cluster's CA, and show the user's certificate where there is one."""
        context = self._trust()
        pair = [self._text("client-certificate"), self._text("client-key")]
        if all(pair):
            _load_pair(context, *(str(each) for each in pair))
        return context

    def headers(self) -> Mapping[str, str]:
        """Return the user's token, by running their command where they have one."""
        if path := self.user.get("tokenFile"):
            return bearer_header(self.user_folder / str(path))
        if token := self.user.get("token"):
            return {"Authorization": f"Bearer {token}"}
        if command := self.user.get("exec"):
            return {"Authorization": f"Bearer {_run(command, self.user_folder)}"}
        return {}

    def _trust(self) -> ssl.SSLContext:
        if data := self.cluster.get("certificate-authority-data"):
            context = tls_context(text=_decode(data, "certificate-authority-data"))
        elif path := self.cluster.get("certificate-authority"):
            context = tls_context(self.cluster_folder / str(path))
        else:
            context = tls_context()
        if self.cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _text(self, key: str) -> str | None:
        if data := self.user.get(f"{key}-data"):
            return _decode(data, f"{key}-data")
        if path := self.user.get(key):
            try:
                return (self.user_folder / str(path)).read_text(encoding="ascii")
            except (OSError, ValueError) as error:
                raise ClusterError(f"cannot read {key} of the kubeconfig: {error}") from error
        return None


def load_kubeconfig(paths: list[Path]) -> Kubeconfig:
    """Read kubeconfig files; what an earlier one says counts, as with kubectl. Raises ClusterError."""
    files = [(path.parent, _read(path)) for path in paths if path.is_file()]
    names = ", ".join(str(path) for path in paths)
    current = next((file["current-context"] for _, file in files if file.get("current-context")), None)
    if current is None:
        raise ClusterError(f"{names}: no current-context; choose one by `kubectl config use-context`")
    context, _ = _named(files, "contexts", "context", str(current))
    cluster, cluster_folder = _named(files, "clusters", "cluster", str(context.get("cluster")))
    user, user_folder = _named(files, "users", "user", str(context.get("user")))
    return Kubeconfig(_endpoint(str(cluster.get("server", ""))), cluster, user, cluster_folder, user_folder)


def _read(path: Path) -> Part:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ClusterError(f"cannot read the kubeconfig {path}: {error}") from error
    if not isinstance(found, dict):
        raise ClusterError(f"{path} is not a kubeconfig")
    return found


def _named(files: list[tuple[Path, Part]], plural: str, key: str, name: str) -> tuple[Part, Path]:
    for folder, file in files:
        for each in file.get(plural) or ():
            if isinstance(each, dict) and each.get("name") == name and isinstance(each.get(key), dict):
                return each[key], folder
    raise ClusterError(f"the kubeconfig has no {key} {name!r}")


def _endpoint(server: str) -> Endpoint:
    url = urlsplit(server)
    if url.scheme != "https" or not url.hostname:
        raise ClusterError(f"the kubeconfig's server {server!r} is not an https:// address")
    return Endpoint(url.hostname, url.port or 443, url.path.rstrip("/"))


def _decode(data: object, key: str) -> str:
    try:
        return base64.b64decode(str(data), validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise ClusterError(f"{key} of the kubeconfig is not base64 of a PEM text") from error


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    # OpenSSL takes a pair only from a file.
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        try:
            context.load_cert_chain(file.name, password="")
        except (OSError, ValueError) as error:
            raise ClusterError(f"the client certificate of the kubeconfig is unusable: {error}") from error


def _run(command: Part, folder: Path) -> str:
    """Run a credential plugin (client.authentication.k8s.io) and return its token."""
    program = str(command.get("command"))
    path = str(folder / program) if os.sep in program else program
    version = str(command.get("apiVersion"))
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    given = {str(each["name"]): str(each["value"]) for each in command.get("env") or ()}
    environment = {**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own kubeconfig names it
            [path, *(str(each) for each in command.get("args") or ())],
            env=environment,
            stdout=subprocess.PIPE,
            timeout=EXEC_TIMEOUT,
            check=True,
        )
        return str(json.loads(done.stdout)["status"]["token"])
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(f"the kubeconfig's command {program!r} failed: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"the kubeconfig's command {program!r} gave no token") from error
