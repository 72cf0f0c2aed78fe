"""The files and the command of one of the injector's pods, as the kubelet would give them."""

from __future__ import annotations

import base64
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.cluster.api import ApiError, Kind, Manifest

CONFIG_MAP = Kind("v1", "ConfigMap")
SECRET = Kind("v1", "Secret")
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the admission plugin ServiceAccount mounts a pod's token."""
PROGRAMS = {
    "ipagent": Path(sys.executable).with_name("ipagent"),
    "multus-eni": Path(sys.executable).with_name("multus-eni"),
    "python3": Path(sys.executable),
}

Token = Callable[[Manifest], str]
"""Asks for a token of a pod's ServiceAccount."""
Get = Callable[[Kind, str, str], Manifest]
"""Returns an object by its name and namespace; raises ApiError with code 404 where there is none."""


class Mounts:
    """The folders that stand for a container's mounts; `sync` writes them, again where something changed.

    `get` is where it reads the objects from.
    """

    def __init__(self, get: Get, token: Token, ca: Path, pod: Manifest, folder: Path) -> None:
        self.get = get
        self._token = token
        self._ca = ca
        self._pod = pod
        self._namespace = pod["metadata"]["namespace"]
        self._found: dict[tuple[Kind, str], Manifest] = {}
        self._written: dict[str, dict[str, bytes]] = {}
        self._count = itertools.count()
        (container,) = pod["spec"]["containers"]
        self.folders = {
            each["mountPath"]: folder / each["name"] for each in container.get("volumeMounts", [])
        }
        self._volumes = {each["name"]: each for each in pod["spec"].get("volumes", [])}
        for each in self.folders.values():
            each.mkdir(parents=True)

    def sync(self) -> None:
        """Write the files as they are in the cluster now; raises ApiError where one is missing."""
        for folder in self.folders.values():
            volume = self._volumes[folder.name]
            # A token is written once: it outlives the tests.
            if "projected" in volume and folder.name in self._written:
                continue
            files = dict(self._files(volume))
            if files != self._written.get(folder.name):
                self._swap(folder, files)
                self._written[folder.name] = files

    def local(self, text: str) -> str:
        """Replace the mounts that a word of a command names by their folders."""
        for path, folder in self.folders.items():
            text = text.replace(path, str(folder))
        return text

    def _files(self, volume: Manifest) -> Iterator[tuple[str, bytes]]:
        if "configMap" in volume:
            found = self._newest(CONFIG_MAP, volume["configMap"]["name"])
            yield from ((name, text.encode()) for name, text in found["data"].items())
        elif "secret" in volume:
            yield from self._secret(volume["secret"])
        elif "projected" in volume:
            yield "token", self._token(self._pod).encode()
            yield "namespace", self._namespace.encode()
            yield "ca.crt", self._ca.read_bytes()
        else:
            raise NotImplementedError(f"volume {volume}")

    def _newest(self, kind: Kind, name: str) -> Manifest:
        found, before = self.get(kind, name, self._namespace), self._found.get((kind, name))
        # A cache may have it as it was before.
        if before is None or _version(found) >= _version(before):
            self._found[kind, name] = found
        return self._found[kind, name]

    def _secret(self, source: Manifest) -> Iterator[tuple[str, bytes]]:
        try:
            data = self._newest(SECRET, source["secretName"]).get("data") or {}
        except ApiError as error:
            if not error.not_found or not source.get("optional"):
                raise
            data = {}
        # As the kubelet: an optional volume leaves out the keys that are missing.
        for item in source["items"]:
            if item["key"] in data:
                yield item["path"], base64.b64decode(data[item["key"]])

    def _swap(self, folder: Path, files: dict[str, bytes]) -> None:
        """Change all files of a volume at once, as the kubelet does (its atomic writer): behind one link."""
        made = folder / f"..{next(self._count)}"
        made.mkdir()
        for name, content in files.items():
            (made / name).write_bytes(content)
        link = folder / "..new"
        link.symlink_to(made.name)
        link.rename(folder / "..data")
        for name in files:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(Path("..data", name))
        for path in folder.iterdir():
            if path.is_symlink() and not path.exists():
                path.unlink()


def _version(found: Manifest) -> int:
    return int(found["metadata"]["resourceVersion"])


def value_of(variable: Manifest, address: str) -> str:
    """Return the value of one of a container's variables; `address` is the pod's."""
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    return {"status.podIP": address}[variable["valueFrom"]["fieldRef"]["fieldPath"]]


def command_of(pod: Manifest, mounts: Mounts, env: Mapping[str, str]) -> list[str]:
    """Return the command of a pod's one container for this machine, with its variables put in."""
    (container,) = pod["spec"]["containers"]
    line: list[str] = [*container["command"], *container.get("args", [])]
    for name, value in env.items():
        line = [word.replace(f"$({name})", value) for word in line]
    program, *words = line
    return [str(PROGRAMS[program]), *(mounts.local(word) for word in words)]


def kubeconfig(mounts: Mounts, server: str, folder: Path) -> Path | None:
    """Write what stands for the token at its fixed place in a pod; None where the pod has none."""
    account = mounts.folders.get(ACCOUNT)
    if account is None:
        return None
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "it", "cluster": {"server": server, "certificate-authority": str(account / "ca.crt")}}
        ],
        "users": [{"name": "it", "user": {"tokenFile": str(account / "token")}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path
