"""`make push`, to a real registry: Debian's docker-registry."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.version import VERSION
from images.store import cache_folder, opened
from tests.cluster.helm import CHART, Helm
from tests.cluster.processes import LAZY_GC
from tests.cluster.registry import PROGRAM, fetch
from tests.cluster.registry import registry as served
from tests.cluster.tools.binaries import find_binary
from tests.images.conftest import need
from tests.images.container import call, extract

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EXAMPLES = CHART.parents[1] / "examples"
EXAMPLE_REGISTRY = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
MACHINES = {"amd64": 62, "arm64": 183}
"""e_machine of elf(5): EM_X86_64 and EM_AARCH64."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need(PROGRAM, "buildah")
    with served(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def pushed(registry: str) -> str:
    """What `make push` prints."""
    return call(sys.executable, "-m", "images", "push", registry, "--plain-http", timeout=1200)


def test_a_push_leaves_no_index_with_which_buildah_lists_no_images(pushed: str) -> None:
    assert pushed
    with opened(cache_folder() / "containers") as store:
        listed = call(*store.buildah("images", "--format", "{{.Name}}"))

    assert "index" not in listed


def _json(registry: str, path: str, accept: str) -> Any:
    return json.loads(fetch(registry, path, accept))


@pytest.mark.parametrize("image", ["agent", "webhook"])
def test_the_printed_digest_is_an_index_of_both_architectures(registry: str, pushed: str, image: str) -> None:
    found = re.search(rf"--set image\.{image}\.digest=(sha256:\w+)", pushed)
    assert found is not None
    index = _json(registry, f"multus-eni-{image}/manifests/{found[1]}", INDEX)

    assert sorted(entry["platform"]["architecture"] for entry in index["manifests"]) == ["amd64", "arm64"]
    for entry in index["manifests"]:
        architecture = entry["platform"]["architecture"]
        manifest = _json(registry, f"multus-eni-{image}/manifests/{entry['digest']}", MANIFEST)
        machines = set()
        for layer in manifest["layers"]:
            blob = fetch(registry, f"multus-eni-{image}/blobs/{layer['digest']}", "*/*")
            machines |= _machines(blob)
        assert machines == {MACHINES[architecture]}


def _machines(layer: bytes) -> set[int]:
    found = set()
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            header = file.read(20) if file is not None else b""
            if header.startswith(b"\x7fELF"):
                found.add(int.from_bytes(header[18:20], "little"))
    return found


def test_the_images_share_the_layer_below_them(registry: str, pushed: str) -> None:
    assert pushed
    lowest = [
        {
            _json(registry, f"multus-eni-{image}/manifests/{entry['digest']}", MANIFEST)["layers"][0][
                "digest"
            ]
            for entry in _json(registry, f"multus-eni-{image}/manifests/{VERSION}", INDEX)["manifests"]
        }
        for image in ("agent", "webhook")
    ]

    assert lowest[0] == lowest[1]


@pytest.mark.parametrize("which", ["helm3", "helm4"])
def test_the_printed_command_renders_with_both_digests(which: str, pushed: str, tmp_path: Path) -> None:
    helm = find_binary(which)
    assert helm is not None, "`make tools` builds it"
    command = pushed.partition("helm install ")[2].replace("\\\n", " ").split()
    digests = re.findall(r"image\.\w+\.digest=(sha256:\w+)", pushed)

    done = subprocess.run(
        [helm, "template", *command, "--plain-http", "--kube-version", "1.33.0"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )

    assert done.returncode == 0, done.stderr
    assert len(digests) == 2
    for digest in digests:
        assert f"@{digest}" in done.stdout


def test_a_bundle_pushes_the_same_as_a_push(registry: str, pushed: str, tmp_path: Path) -> None:
    need("skopeo")
    helm = find_binary("helm4")
    assert helm is not None, "`make tools` builds it"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(helm)
    file = tmp_path / "bundle.tar"
    call(sys.executable, "-m", "images", "bundle", file, timeout=1200)
    with tarfile.open(file) as archive:
        extract(archive, tmp_path)

    done = subprocess.run(
        [tmp_path / f"multus-eni-{VERSION}" / "push.sh", f"{registry}/elsewhere", "--plain-http"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin", **LAZY_GC},
    )

    assert done.returncode == 0, done.stderr
    digest = r"image\.\w+\.digest=(sha256:\w+)"
    assert re.findall(digest, done.stdout) == re.findall(digest, pushed)
    for image in ("agent", "webhook"):
        index = _json(registry, f"elsewhere/multus-eni-{image}/manifests/{VERSION}", INDEX)
        assert len(index["manifests"]) == 2
    tags = _json(registry, "elsewhere/charts/multus-eni-injector/tags/list", "*/*")
    assert tags["tags"] == [VERSION]


def test_kustomize_pulls_the_chart(registry: str, pushed: str, tmp_path: Path) -> None:
    assert pushed
    kustomize, helm = find_binary("kustomize"), find_binary("helm4")
    assert kustomize is not None, "`make tools` builds it"
    assert helm is not None, "`make tools` builds it"
    # kustomize has no option for registries without TLS.
    program = tmp_path / "helm"
    program.write_text(
        f'#!/bin/sh\ncase $1 in pull) set -- "$@" --plain-http ;; esac\nexec {helm} "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    example = tmp_path / "kustomize"
    shutil.copytree(EXAMPLES / "kustomize", example)
    text = (example / "kustomization.yaml").read_text(encoding="utf-8")
    (example / "kustomization.yaml").write_text(text.replace(EXAMPLE_REGISTRY, registry), encoding="utf-8")

    made = call(str(kustomize), "build", "--enable-helm", f"--helm-command={program}", str(example))

    assert f"{registry}/multus-eni-webhook:{VERSION}" in made


def test_flux_finds_the_packed_chart_in_the_layer_that_its_example_selects(
    registry: str, pushed: str, tmp_path: Path
) -> None:
    """source-controller stores that layer as it is, and helm-controller reads it by Helm's SDK."""
    assert pushed
    text = (
        (EXAMPLES / "flux-helmrelease.yaml").read_text(encoding="utf-8").replace(EXAMPLE_REGISTRY, registry)
    )
    found = {each["kind"]: each.get("spec", {}) for each in yaml.safe_load_all(text)}
    source = found["OCIRepository"]
    repository = source["url"].removeprefix(f"oci://{registry}/")
    manifest = _json(registry, f"{repository}/manifests/{VERSION}", MANIFEST)
    (layer,) = [
        each for each in manifest["layers"] if each["mediaType"] == source["layerSelector"]["mediaType"]
    ]
    packed = tmp_path / "chart.tgz"
    packed.write_bytes(fetch(registry, f"{repository}/blobs/{layer['digest']}", "*/*"))

    program = find_binary("helm4")
    assert program is not None, "`make tools` builds it"
    made = Helm(program, tmp_path).template(found["HelmRelease"]["values"], chart=packed)

    assert f"{registry}/multus-eni-webhook:{VERSION}" in made
