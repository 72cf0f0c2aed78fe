"""Builds the plugin of kubectl for krew: an archive with a script, and the manifest that names it.

The script runs the release's wheel by uv or pipx: krew plugins are archives without dependencies, and the
command's libraries are compiled for each Python and platform.

krew: docs/PLUGIN_MANIFEST, "krew.googlecontainertools.github.com/v1alpha2".
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from common.version import VERSION
from images.run import ROOT

NAME = "multus-eni"
SCRIPT = "kubectl-multus_eni"
ARCHIVE = f"kubectl-{NAME}-{VERSION}.tar.gz"
MANIFEST = f"{NAME}.yaml"
WHEEL = f"multus_eni_injector-{VERSION}-py3-none-any.whl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write archive and manifest into a folder."""
    parser = argparse.ArgumentParser(prog="python -m images.krew", description=__doc__)
    parser.add_argument("folder", type=Path, help="where both go")
    build(parser.parse_args(arguments).folder)
    return 0


def build(folder: Path) -> None:
    """Write archive and manifest. Raises OSError."""
    home = str(_chart()["home"])
    release = f"{home}/releases/download/v{VERSION}"
    archive = _archive(f"multus-eni-injector[cli] @ {release}/{WHEEL}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARCHIVE).write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    manifest = _manifest(home, f"{release}/{ARCHIVE}", digest)
    (folder / MANIFEST).write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")


def _archive(package: str) -> bytes:
    script = (ROOT / "images" / f"{SCRIPT}.sh").read_text(encoding="utf-8").replace("@PACKAGE@", package)
    files = {SCRIPT: (script.encode(), 0o755), "LICENSE": ((ROOT / "LICENSE").read_bytes(), 0o644)}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, (content, mode) in files.items():
            # Without times and owners, so that the same release has the same digest wherever it is built.
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def _manifest(home: str, uri: str, digest: str) -> dict[str, Any]:
    systems = {"key": "os", "operator": "In", "values": ["darwin", "linux"]}
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            "version": f"v{VERSION}",
            "homepage": home,
            "shortDescription": "Says what is wrong with Multus on AWS",
            "description": (
                "Looks at a cluster with Multus on EC2 nodes and says what is wrong and what to do about it\n"
                "(kubectl multus-eni check), and what the multus-eni-injector webhook would do with a\n"
                "workload (kubectl multus-eni explain). It changes nothing.\n"
            ),
            "caveats": "Needs uv or pipx, and Python 3.11 or newer. The first run fetches packages.\n",
            "platforms": [
                {
                    "selector": {"matchExpressions": [systems]},
                    "uri": uri,
                    "sha256": digest,
                    "bin": SCRIPT,
                }
            ],
        },
    }


def _chart() -> dict[str, Any]:
    text = (ROOT / "charts" / "multus-eni-injector" / "Chart.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


if __name__ == "__main__":
    sys.exit(main())
