"""Helm, and a control plane that runs the injector's own pods; skipped where programs are missing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chart.pairs import rows
from tests.chart.values import cases
from tests.cluster.api import Api, Manifest
from tests.cluster.control_plane import NO_TYPE_CHECKS, ControlPlane, make_user
from tests.cluster.helm import Helm, parsed
from tests.cluster.process_kubelet import ProcessKubelet
from tests.cluster.registry import PROGRAM
from tests.cluster.registry import registry as served
from tests.cluster.service_proxy import ServiceProxy
from tests.cluster.tools import CONTROL_PLANE
from tests.skipping import programs, skip

EDITOR = make_user("editor", group="no-rights")
MULTUS = make_user("multus", group="no-rights")
TYPES_CHECKED = ("test_admission_policy.py", "test_network_status_policy.py")
"""The files of tests that look at what the controller-manager says of the types in policies."""


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 4, for rendering."""
    return Helm(programs(["helm4"])["helm4"], tmp_path_factory.mktemp("helm4"))


@pytest.fixture(scope="session")
def helm3(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 3, for rendering."""
    return Helm(programs(["helm3"])["helm3"], tmp_path_factory.mktemp("helm3"))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A control plane with a stand-in for a node."""

    plane: ControlPlane
    api: Api
    kubelet: ProcessKubelet
    folder: Path

    def helm(self, name: str) -> Helm:
        """Return `helm4` or `helm3`, as the administrator uses it."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Helm(programs([name])[name], folder, self.plane.kubeconfig(self.plane.admin))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane that calls webhooks behind Services, and runs the injector's own pods.

    It checks the types of policies where some test looks at that.
    """
    binaries = programs(CONTROL_PLANE)
    checked = any(item.path.name in TYPES_CHECKED for item in request.session.items)
    # Not pytest's folder: a Unix socket's path has at most 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="chart-") as folder,
        ServiceProxy(Path(folder)) as proxy,
        ControlPlane(
            binaries,
            users=[EDITOR, MULTUS],
            apiserver_flags=[f"--egress-selector-config-file={proxy.configuration}"],
            controller_flags=[] if checked else [NO_TYPE_CHECKS],
        ) as plane,
        plane.client() as api,
        ProcessKubelet(plane, Path(folder)) as kubelet,
    ):
        proxy.resolve_by(kubelet.endpoints)
        yield Cluster(plane, api, kubelet, Path(folder))
        plane.check()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry without TLS."""
    if shutil.which(PROGRAM) is None:
        skip(f"{PROGRAM} is not installed: `make system` installs it")
    with served(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def texts(helm: Helm) -> dict[str, str]:
    """What Helm 4 makes of each case of values."""
    return {name: helm.template(values) for name, values in cases().items()}


@pytest.fixture(scope="session")
def rendered(texts: dict[str, str]) -> dict[str, list[Manifest]]:
    """The manifests of each case of values; look, don't touch."""
    return {name: parsed(text) for name, text in texts.items()}


@pytest.fixture(scope="session")
def paired(helm: Helm) -> list[list[Manifest]]:
    """The manifests of values in which every two switches meet; look, don't touch."""
    return [helm.render(values) for values in rows()]
