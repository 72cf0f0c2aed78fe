"""SBOM of an image (CycloneDX 1.5): what uv.lock names, and the Debian packages that the image lists."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

STATUS = "var/lib/dpkg/status.d/"
"""Folder with one file of control fields for each Debian package: images/build/rootfs.sh writes it."""
DISTRO = "debian-13"


def complete(sbom: Path, archive: Path) -> None:
    """Add the Debian packages of a docker archive to an SBOM file."""
    packages = debian_packages(archive)
    content = with_debian(json.loads(sbom.read_text(encoding="utf-8")), packages)
    sbom.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def debian_packages(archive: Path) -> list[dict[str, str]]:
    """Return the control fields of all Debian packages in a docker archive, by name.

    Raises ValueError if there are none.
    """
    with tarfile.open(archive) as image:
        (manifest,) = json.load(_member(image, "manifest.json"))
        found = [fields for layer in manifest["Layers"] for fields in _of_layer(_member(image, layer))]
    if not found:
        raise ValueError(f"{archive} lists no Debian packages in {STATUS}")
    return sorted(found, key=lambda fields: fields["Package"])


def with_debian(sbom: dict[str, Any], packages: Iterable[dict[str, str]]) -> dict[str, Any]:
    """Return the SBOM with a component for each package (control fields, deb-control(5))."""
    return {**sbom, "components": [*sbom.get("components", ()), *map(_component, packages)]}


def control_fields(text: str) -> dict[str, str]:
    """Return the fields of a control file's first lines; continued lines are left out."""
    lines = [line for line in text.splitlines() if line and not line[0].isspace()]
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def _component(fields: dict[str, str]) -> dict[str, Any]:
    name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
    qualifiers = {"arch": arch, "distro": DISTRO}
    if source := fields.get("Source", ""):
        # "name" or "name (version)": advisories are about source packages.
        source_name, _, source_version = source.partition(" ")
        qualifiers["upstream"] = source_name + (f"@{source_version.strip('()')}" if source_version else "")
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(qualifiers.items()))
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?{query}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "supplier": {"name": fields["Maintainer"]},
    }


def _of_layer(layer: IO[bytes]) -> Iterator[dict[str, str]]:
    with tarfile.open(fileobj=layer) as files:
        for member in files:
            if member.isfile() and member.name.removeprefix("./").startswith(STATUS):
                content = files.extractfile(member)
                assert content is not None  # noqa: S101 - it is a file
                yield control_fields(content.read().decode())


def _member(image: tarfile.TarFile, name: str) -> IO[bytes]:
    content = image.extractfile(name)
    if content is None:
        raise ValueError(f"{name} of the archive is not a file")
    return content
