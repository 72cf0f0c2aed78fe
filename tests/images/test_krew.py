"""The plugin of kubectl for krew: what the archive's script runs, and what the manifest says of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.version import VERSION
from images.krew import ARCHIVE, MANIFEST, SCRIPT, WHEEL, build
from images.run import ROOT
from tests.images.container import extract

pytestmark = pytest.mark.pure


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build(tmp_path / "dist")
    with tarfile.open(tmp_path / "dist" / ARCHIVE) as archive:
        extract(archive, tmp_path / "plugin")
    return tmp_path


def manifest_of(built: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((built / "dist" / MANIFEST).read_text())
    return found


def test_the_manifest_names_the_archive_of_this_release_by_its_digest(built: Path) -> None:
    spec = manifest_of(built)["spec"]
    (platform,) = spec["platforms"]
    assert spec["version"] == f"v{VERSION}"
    assert platform["uri"].endswith(f"/releases/download/v{VERSION}/{ARCHIVE}")
    assert platform["sha256"] == hashlib.sha256((built / "dist" / ARCHIVE).read_bytes()).hexdigest()
    assert (built / "plugin" / platform["bin"]).stat().st_mode & 0o111


def test_the_same_release_has_the_same_digest(built: Path) -> None:
    before = manifest_of(built)
    build(built / "dist")
    assert manifest_of(built) == before


def run(built: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script where only these programs can be found."""
    folder = built / "bin"
    folder.mkdir()
    for name, content in programs.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    return subprocess.run(
        [built / "plugin" / SCRIPT, "check", "-n", "my apps"],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


SHOW = '#!/bin/sh\nprintf \'%s\\n\' "$0" "$@"\n'


@pytest.mark.parametrize(
    ("programs", "used", "before"),
    [
        (("uv", "pipx"), "uv", ["tool", "run", "--quiet", "--from"]),
        (("pipx",), "pipx", ["run", "--quiet", "--spec"]),
    ],
)
def test_it_runs_the_wheel_of_its_release(
    built: Path, programs: tuple[str, ...], used: str, before: list[str]
) -> None:
    done = run(built, dict.fromkeys(programs, SHOW))
    program, *arguments = done.stdout.splitlines()
    package = arguments[len(before)]
    assert (Path(program).name, arguments[: len(before)]) == (used, before)
    assert package.startswith("multus-eni-injector[cli] @ https://")
    assert package.endswith(f"/v{VERSION}/{WHEEL}")
    assert arguments[len(before) + 1 :] == [SCRIPT, "check", "-n", "my apps"]


def test_without_either_it_says_what_to_install(built: Path) -> None:
    done = run(built, {})
    assert done.returncode == 127
    assert "install one of them" in done.stderr


def test_the_release_publishes_wheel_archive_and_manifest() -> None:
    text = (ROOT / ".github/workflows/release.yaml").read_text()
    published = text.partition("gh release create")[2]
    assert all(name in published for name in ("dist/*.whl", "dist/kubectl-*.tar.gz", f"dist/{MANIFEST}"))
    assert "images.krew dist" in text
    assert os.access(ROOT / "images" / f"{SCRIPT}.sh", os.R_OK)
