"""What a cluster is made of, found on this machine, or a sentence about what is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.nodes import cni
from tests.cluster.nodes.images import ImagesMissingError, node_images
from tests.cluster.nodes.ipvlan import PluginMissingError, ipvlan_plugin
from tests.cluster.nodes.sandbox import NEEDED, program
from tests.cluster.tools import Binaries, Missing, find_binaries

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
SYSTEM_PROGRAMS = (*NEEDED, "containerd", "ctr", "runc")


class PartsMissing(Exception):
    """No cluster can be brought up here; the text says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Parts:
    """PROGRAMS, CNI plugins by name, manifests that come first, and docker archives that each node holds."""

    binaries: Binaries
    plugins: Mapping[str, Path]
    crds: tuple[Path, ...]
    images: tuple[Path, ...]


def find_parts(folder: Path) -> Parts:
    """Find everything; what is made for it lies in `folder` or in the cache. Raises PartsMissing.

    Where images have changed since they were last built this builds them, which may take a minute.
    """
    if os.geteuid() != 0:
        raise PartsMissing("a cluster needs root: containerd mounts, and nodes are namespaces")
    binaries = find_binaries(PROGRAMS)
    if isinstance(binaries, Missing):
        raise PartsMissing(str(binaries))
    try:
        for name in SYSTEM_PROGRAMS:
            program(name)
        plugins = {**cni.plugins(), "ipvlan": ipvlan_plugin()}
        return Parts(binaries, plugins, tuple(cni.crds()), node_images(folder))
    except (FileNotFoundError, cni.PluginsMissing, PluginMissingError, ImagesMissingError) as error:
        raise PartsMissing(str(error)) from error
