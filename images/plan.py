"""What is built, and the command lines for it; nothing is run here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def base_of(dockerfile: str) -> str:
    """Return the default of a Dockerfile's BASE. Raises ValueError if there is none."""
    found = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    if found is None:
        raise ValueError("the Dockerfile has no ARG BASE with a default")
    return found[1]


def is_pinned(base: str) -> bool:
    """Whether an image is named by its digest: a release is built in such a base only."""
    return re.search(r"@sha256:[0-9a-f]{64}$", base) is not None


IMAGES = ("agent", "webhook")
PLATFORMS = ("linux/amd64", "linux/arm64")
DOCKERFILE_BASE = base_of((Path(__file__).parents[1] / "Dockerfile.agent").read_text(encoding="utf-8"))
"""The default of the Dockerfiles' BASE, which Renovate updates there."""

LOCAL_BASE = "localhost/multus-eni-base:trixie"
"""What `make base-image` makes: Debian 13 as DOCKERFILE_BASE has it."""

CHART = "charts/multus-eni-injector"
CHART_REPOSITORY = "charts/multus-eni-injector"
"""Its repository below the registry: Helm appends the chart's name to what it pushes to."""

Argv = list[str]


def repository(image: str) -> str:
    """Its repository's name below the registry: the default of the chart's `image.*.repository`."""
    return f"multus-eni-{image}"


@dataclass(frozen=True, slots=True)
class Build:
    """How the images are built.

    `base`: in which image, empty for the Dockerfile's; `ca`: a CA bundle; `created`: the time that everything
    in the images gets, in seconds since 1970, so that the same files make the same image; empty for now;
    `snapshot`: the time whose Debian packages are used (20260101T000000Z); empty for the newest; `platform`:
    for which one docker archives are built, empty for the machine's own.
    """

    version: str
    build_platform: str
    revision: str = ""
    base: str = ""
    ca: str = ""
    created: str = ""
    snapshot: str = ""
    platform: str = ""

    @property
    def archived(self) -> str:
        """The platform of docker archives."""
        return self.platform or self.build_platform

    def argv(self, image: str, platform: str, target: Sequence[str]) -> Argv:
        """Return buildah's arguments; `target` is `--tag NAME` or `--manifest NAME`."""
        # buildah before 1.29 knows no BUILDPLATFORM by itself.
        arguments = {
            "BUILDPLATFORM": self.build_platform,
            "VERSION": self.version,
            "REVISION": self.revision,
            **({"BASE": self.base} if self.base else {}),
            **({"SNAPSHOT": self.snapshot} if self.snapshot else {}),
        }
        return [
            *("build", "--isolation", "chroot", "--layers", "--format", "oci"),
            *("--platform", platform, *target),
            *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
            *(("--secret", f"id=ca,src={self.ca}") if self.ca else ()),
            *(("--timestamp", self.created) if self.created else ()),
            # No registry is asked for a base that was made here.
            *(("--pull-never",) if self.base.startswith("localhost/") else ()),
            *("--file", f"Dockerfile.{image}", "."),
        ]


def copied(dockerfile: str) -> list[str]:
    """Return what a Dockerfile takes from the project: files and folders, as they are named there."""
    lines = re.findall(r"^COPY (?!--from=)(.+)$", dockerfile, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def install_command(registry: str, version: str, digests: Mapping[str, str]) -> str:
    """Return the helm command that installs just what was pushed; `digests` by image, and the `chart`'s."""
    lines = [
        f"helm install multus-eni-injector oci://{registry}/charts/multus-eni-injector@{digests['chart']}",
        "--namespace multus-eni-system --create-namespace",
        f"--set image.registry={registry} --set image.tag={version}",
        *(f"--set image.{image}.digest={digests[image]}" for image in IMAGES),
    ]
    return " \\\n  ".join(lines)
