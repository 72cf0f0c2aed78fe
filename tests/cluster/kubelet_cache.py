"""The pods, ConfigMaps and Secrets that the stand-in for a kubelet needs, watched as the kubelet does.

Asking for them again and again took more of the API server's time than the tests did.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.agent_settings import LogFormat
from common.kube.client import Client
from common.kube.informer import Informer
from common.kube.kubeconfig import load_kubeconfig
from common.kube.reflector import Target
from ipagent.log import Log
from tests.cluster.api import POD, ApiError, Kind, Manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.mounts import CONFIG_MAP, SECRET

WITHOUT_RELEASES = "type!=helm.sh/release.v1"
"""Helm's own Secrets are large, and no pod mounts them."""


class KubeletCache:
    """Objects as the API server has them, or had them a moment ago, from `start` to `stop`.

    `labels` select the pods. `changed` is set whenever something has changed.
    """

    def __init__(self, plane: ControlPlane, folder: Path, labels: str) -> None:
        # A file of its own: others are written anew while this one is read.
        path = folder / "kubelet.kubeconfig"
        write_kubeconfig(path, plane.url, plane.ca.read_bytes(), plane.admin.token)
        client = Client(load_kubeconfig([path]), "tests")
        selectors = {POD: {"labelSelector": labels}, SECRET: {"fieldSelector": WITHOUT_RELEASES}}
        targets = {POD: "pods", CONFIG_MAP: "configmaps", SECRET: "secrets"}
        log = Log(form=LogFormat.JSON)
        self.changed = threading.Event()
        self._informers = {
            kind: Informer(
                client,
                Target(f"/api/v1/{plural}", plural, selectors.get(kind, {})),
                _whole,
                lambda _: self.changed.set(),
                log,
            )
            for kind, plural in targets.items()
        }

    def start(self) -> None:
        """Begin with lists."""
        for informer in self._informers.values():
            informer.start()

    def stop(self) -> None:
        """End the watches."""
        for informer in self._informers.values():
            informer.stop()
        for informer in self._informers.values():
            informer.join(5)

    def pods(self) -> dict[str, Manifest]:
        """Return the pods by uid; none while they are not known yet."""
        return {pod["metadata"]["uid"]: pod for pod in self._informers[POD].items().values()}

    def get(self, kind: Kind, name: str, namespace: str) -> Manifest:
        """Return a ConfigMap or Secret; raises ApiError with code 404 where there is none."""
        found = self._informers[kind].items().get(f"{namespace}/{name}")
        if found is None:
            raise ApiError(404, "NotFound", f"no {kind.kind} {namespace}/{name}")
        return found


def _whole(found: Mapping[str, Any]) -> Manifest:
    return dict(found)
