"""Debian packages in the SBOM, without an image."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from images.sbom import STATUS, complete, control_fields, debian_packages, with_debian

pytestmark = pytest.mark.pure

LIBSSL = """Package: libssl3t64
Source: openssl (3.5.1-1+b1)
Version: 3.5.1-1+deb13u1
Architecture: amd64
Maintainer: Debian OpenSSL Team <pkg-openssl-devel@example.org>
Description: Secure Sockets Layer toolkit
 This text is not a field: it goes on.
"""
ZLIB = """Package: zlib1g
Source: zlib
Version: 1:1.3~dfsg-1
Architecture: amd64
Maintainer: Mark
"""


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def docker_archive(path: Path, *layers: dict[str, str]) -> Path:
    with tarfile.open(path, "w") as image:
        names = [f"{number}.tar" for number in range(len(layers))]
        _add(image, "manifest.json", json.dumps([{"Layers": names}]).encode())
        for name, files in zip(names, layers, strict=True):
            layer = io.BytesIO()
            with tarfile.open(fileobj=layer, mode="w") as content:
                for file, text in files.items():
                    _add(content, file, text.encode())
            _add(image, name, layer.getvalue())
    return path


def test_packages_of_all_layers_join_those_of_python(tmp_path: Path) -> None:
    archive = docker_archive(
        tmp_path / "image.tar",
        {f"{STATUS}zlib1g": ZLIB, "etc/passwd": "root"},
        {f"./{STATUS}libssl3t64": LIBSSL},
    )
    sbom = tmp_path / "image.cdx.json"
    sbom.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "botocore"}]}))

    complete(sbom, archive)

    names = [component["name"] for component in json.loads(sbom.read_text())["components"]]
    assert names == ["botocore", "libssl3t64", "zlib1g"]


@pytest.mark.parametrize(
    ("control", "purl"),
    [
        (
            LIBSSL,
            "pkg:deb/debian/libssl3t64@3.5.1-1%2Bdeb13u1?arch=amd64&distro=debian-13&upstream=openssl%403.5.1-1%2Bb1",
        ),
        (ZLIB, "pkg:deb/debian/zlib1g@1%3A1.3~dfsg-1?arch=amd64&distro=debian-13&upstream=zlib"),
    ],
)
def test_scanners_find_version_distribution_and_source(control: str, purl: str) -> None:
    (component,) = with_debian({}, [control_fields(control)])["components"]
    assert component["purl"] == component["bom-ref"] == purl


def test_an_image_without_a_list_of_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no Debian packages"):
        debian_packages(docker_archive(tmp_path / "image.tar", {"etc/passwd": "root"}))
