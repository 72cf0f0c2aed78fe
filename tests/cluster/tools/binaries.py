"""Finding programs: in $KUBEBUILDER_ASSETS, then in PATH, then among the built ones."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_HERE = Path(__file__).parent

BUILD_FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")
BUILD_ENV = {"CGO_ENABLED": "0", "GOWORK": "off"}


@dataclass(frozen=True)
class Module:
    """A folder beside this file with the go.mod and go.sum that name the sources of some programs.

    Kubernetes takes its version from the linker: without it the API server calls itself v0.0.0. `stamp` is
    the package that takes it, `defines` are values of other variables: `package.variable=value`. `tags` are
    build tags. `sources` are the files beside go.mod where the program is our own.
    """

    name: str
    requirement: str
    stamp: str = ""
    defines: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where `go build` runs."""
        return _HERE / self.name

    @cached_property
    def version(self) -> str:
        """The version that go.mod requires, such as `v1.36.3`."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^\s*{re.escape(self.requirement)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.folder / 'go.mod'} does not require {self.requirement}")
        return found[1]

    @cached_property
    def ldflags(self) -> str:
        """What the linker is told."""
        major, minor, *_ = self.version.removeprefix("v").split(".")
        values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor}
        stamps = [f"-X {self.stamp}.{name}={value}" for name, value in values.items()] if self.stamp else []
        return " ".join(["-s", "-w", *stamps, *(f"-X {define}" for define in self.defines)])

    @property
    def flags(self) -> tuple[str, ...]:
        """What `go build` is told beside the linker's part."""
        return (*BUILD_FLAGS, *(("-tags", ",".join(self.tags)) if self.tags else ()))

    @cached_property
    def digest(self) -> str:
        """What the built programs are made from.

        The version of Go is no part of it: what one built goes on working when Go is upgraded or removed.
        """
        sources = [(self.folder / name).read_bytes() for name in ("go.mod", "go.sum", *self.sources)]
        target = [
            platform.system(),
            platform.machine(),
            *self.flags,
            self.ldflags,
            *sorted(BUILD_ENV.items()),
        ]
        return hashlib.sha256(b"\0".join([*sources, repr(target).encode()])).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and the Go package that is its `main`.

    With `arguments` it is what `go tool PACKAGE ARGUMENT…` prints, a file.
    """

    name: str
    module: Module
    package: str
    arguments: tuple[str, ...] = ()

    def built(self, env: Mapping[str, str] = os.environ) -> Path:
        """Where it lies once it is built, outside the clone: a fresh clone need not build again."""
        cache = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache")
        return Path(cache, "multus-eni-injector", "tools", self.module.digest, self.name)


_ETCD = Module("etcd", "go.etcd.io/etcd/server/v3")
_KUBERNETES = Module("kubernetes", "k8s.io/kubernetes", stamp="k8s.io/component-base/version")
_HELM4 = Module("helm4", "helm.sh/helm/v4", defines=("helm.sh/helm/v4/internal/version.version=v4.3.1",))
_HELM3 = Module(
    "helm3",
    "helm.sh/helm/v3",
    defines=(
        "helm.sh/helm/v3/internal/version.version=v3.22.0",
        # What `helm template` takes for the cluster's version: it would be 1.20.
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36",
    ),
)
_HELM_DOCS = Module("helm-docs", "github.com/norwoodj/helm-docs", defines=("main.version=v1.14.2",))
# Without the clouds' service discovery, which brings most of its dependencies.
_PROMTOOL = Module("promtool", "github.com/prometheus/prometheus", tags=("remove_all_sd",))
_KUSTOMIZE = Module("kustomize", "sigs.k8s.io/kustomize/kustomize/v5")
_IPVLAN = Module("ipvlan", "github.com/containernetworking/plugins", sources=("main.go", "hub.go"))
_DASHBOARD = Module("dashboard", "github.com/grafana/grafana-foundation-sdk/go", sources=("main.go",))
_NODEGROUP = Module(
    "nodegroup",
    "github.com/hashicorp/hcl/v2",
    sources=("main.go", "module.go", "evaluate.go", "functions.go", "schema.go", "maxpods.go"),
)
_CRDS = Module("crds", "github.com/cert-manager/cert-manager")
_CRD_TYPES = (
    "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1",
    "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1",
)

TOOLS = {
    tool.name: tool
    for tool in (
        Tool("etcd", _ETCD, "go.etcd.io/etcd/server/v3"),
        *(
            Tool(name, _KUBERNETES, f"k8s.io/kubernetes/cmd/{name}")
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
        ),
        Tool("ipvlan", _IPVLAN, "."),
        Tool("helm4", _HELM4, "helm.sh/helm/v4/cmd/helm"),
        Tool("helm3", _HELM3, "helm.sh/helm/v3/cmd/helm"),
        Tool("kustomize", _KUSTOMIZE, "sigs.k8s.io/kustomize/kustomize/v5"),
        Tool("helm-docs", _HELM_DOCS, "github.com/norwoodj/helm-docs/cmd/helm-docs"),
        Tool("promtool", _PROMTOOL, "github.com/prometheus/prometheus/cmd/promtool"),
        Tool("check-dashboard", _DASHBOARD, "."),
        Tool("check-nodegroup", _NODEGROUP, "."),
        Tool(
            "crds.yaml",
            _CRDS,
            "controller-gen",
            ("crd:maxDescLen=0", *(f"paths={path}" for path in _CRD_TYPES), "output:crd:stdout"),
        ),
    )
}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
NODES = ("kube-scheduler", "kubelet", "kubectl", "ipvlan")
CHART = (
    "helm4",
    "helm3",
    "kustomize",
    "helm-docs",
    "promtool",
    "check-dashboard",
    "check-nodegroup",
    "crds.yaml",
)
ALL = (*CONTROL_PLANE, *NODES, *CHART)


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs that were found, by name."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


@dataclass(frozen=True, slots=True)
class Missing:
    """Programs that were not found; as text, a sentence that says what to do."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"not found in $KUBEBUILDER_ASSETS, PATH or the cache: {', '.join(self.names)}; `make tools` "
            "builds what is missing (with Go, https://go.dev/dl), or let KUBEBUILDER_ASSETS name its folder"
        )


def find_binary(name: str, env: Mapping[str, str] = os.environ) -> Path | None:
    """Return the path of one of TOOLS, or None; nothing is run and nothing built."""
    assets = env.get("KUBEBUILDER_ASSETS", "")
    for folders in (assets, env.get("PATH", "")):
        # shutil.which would take its own PATH where it is given an empty one.
        if folders and (path := shutil.which(name, path=folders)):
            return Path(path).absolute()
    built = TOOLS[name].built(env)
    return built if built.is_file() else None


def find_binaries(
    names: Sequence[str] = CONTROL_PLANE, env: Mapping[str, str] = os.environ
) -> Binaries | Missing:
    """Return where all of `names` are, or which of them are missing; takes milliseconds."""
    found = {name: find_binary(name, env) for name in names}
    missing = tuple(name for name, path in found.items() if path is None)
    return Missing(missing) if missing else Binaries({name: path for name, path in found.items() if path})
