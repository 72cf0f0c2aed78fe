"""What is in the images, and what is not."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from common.version import VERSION
from images.sbom import control_fields
from tests.images.conftest import need
from tests.images.container import Container, Image, call

MEGABYTES = {"agent": 22.5, "webhook": 37}
"""Compressed, of all layers, 10^6 bytes."""
IMPORT_ALL = """
import importlib, importlib.util, pkgutil
rooms = filter(importlib.util.find_spec, ["certs", "common", "ipagent", "multus_eni", "webhook"])
names = [
    module.name
    for room in rooms
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}.")
]
for name in names:
    importlib.import_module(name)
print(*names, sep="\\n")
"""


def _files(image: Image) -> list[Path]:
    return [path for path in image.root.rglob("*") if path.is_file() and not path.is_symlink()]


def test_the_user_is_a_number_and_there_is_no_entrypoint(image: Image) -> None:
    assert image.config["User"] == "65534:65534"
    assert not image.config.get("Entrypoint")
    assert not image.config.get("Cmd")
    assert not image.config.get("ExposedPorts")


def test_labels_say_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]

    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.names == [f"localhost/{labels['org.opencontainers.image.title']}:{VERSION}"]


def test_nothing_can_be_started_but_python_and_the_command(image: Image) -> None:
    started = {
        path.relative_to(image.root).as_posix()
        for path in _files(image)
        if path.stat().st_mode & 0o111 and path.parent.name in {"bin", "sbin"}
    }

    assert started - {"usr/local/bin/ipagent", "usr/local/bin/multus-eni"} == {"usr/bin/python3.13"}
    assert len(started) == 2


def test_files_belong_to_root_without_setuid_and_are_not_world_writable(image: Image) -> None:
    for path in [image.root, *image.root.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert not mode & (stat.S_ISUID | stat.S_ISGID), path
            assert not mode & stat.S_IWOTH or path in {image.root / "tmp", image.root / "var/tmp"}, path
            assert path.stat().st_uid == 0, path


def test_all_python_is_compiled_for_whatever_time_its_files_get(image: Image) -> None:
    sources = [path for path in _files(image) if path.suffix == ".py"]
    assert len(sources) > 500

    for source in sources:
        header = (source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc").read_bytes()[:8]
        # PEP 552: bit 0 for a hash in place of a time, bit 1 for one that is checked.
        assert int.from_bytes(header[4:], "little") == 0b01, source


def test_every_library_that_a_binary_names_is_there(image: Image) -> None:
    need("objdump")
    libraries = [path for path in _files(image) if ".so" in path.name]
    names = {path.name for path in image.root.rglob("*.so*")}
    assert len(libraries) > 30

    for library in libraries:
        dynamic = subprocess.run(
            ["objdump", "-p", str(library)], capture_output=True, text=True, check=True
        ).stdout
        needed = {line.split()[1] for line in dynamic.splitlines() if line.strip().startswith("NEEDED")}
        assert needed <= names, library


@pytest.mark.parametrize(
    ("which", "has", "lacks"),
    [
        (
            "agent",
            {"ipagent.cli"},
            ("webhook", "certs", "ipagent.aws.trim_botocore"),
        ),
        ("webhook", {"webhook.server.main", "certs.main"}, ("ipagent",)),
    ],
)
def test_all_of_its_modules_can_be_imported_and_no_others_are_there(
    which: str, has: set[str], lacks: tuple[str, ...], request: pytest.FixtureRequest, container: Container
) -> None:
    image: Image = request.getfixturevalue(which)

    done = container.run(image, ["python3", "-I", "-c", IMPORT_ALL])

    assert (done.returncode, done.stderr) == (0, "")
    modules = set(done.stdout.split())
    assert has <= modules
    assert not [module for module in modules if module.startswith(lacks)]


def test_the_agent_has_only_its_part_of_botocores_data(agent: Image) -> None:
    packages = agent.root / "usr/local/lib/python3.13/dist-packages"

    assert not (packages / "botocore/data").exists()
    models = [path.relative_to(packages).parts[2] for path in packages.rglob("service-2.json*")]
    assert sorted(models) == ["ec2", "signin", "sso", "sso-oidc", "sts"]


@pytest.mark.parametrize("which", ["agent", "webhook"])
def test_its_layers_are_small(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    need("skopeo")
    image: Image = request.getfixturevalue(which)
    call("skopeo", "copy", "--quiet", f"docker-archive:{image.archive.file}", f"oci:{tmp_path}:it")
    (entry,) = json.loads((tmp_path / "index.json").read_text())["manifests"]
    blobs = tmp_path / "blobs" / "sha256"
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_text())

    assert sum(layer["size"] for layer in manifest["layers"]) <= MEGABYTES[which] * 1_000_000


def test_the_sbom_names_every_python_package_with_its_version(image: Image) -> None:
    sbom = json.loads(image.archive.sbom.read_text(encoding="utf-8"))
    listed = {(component["name"].lower(), component["version"]) for component in sbom["components"]}
    packages = image.root / "usr/local/lib/python3.13/dist-packages"

    installed = {
        tuple(path.stem.replace("_", "-").lower().rsplit("-", 1)) for path in packages.glob("*.dist-info")
    }

    assert installed
    assert installed <= listed


def test_the_sbom_names_every_debian_package_with_its_version(image: Image) -> None:
    sbom = json.loads(image.archive.sbom.read_text(encoding="utf-8"))
    listed = {
        (component["name"], component["version"])
        for component in sbom["components"]
        if component["purl"].startswith("pkg:deb/debian/")
    }

    status = (image.root / "var/lib/dpkg/status.d").iterdir()
    installed = {
        (fields["Package"], fields["Version"])
        for fields in (control_fields(path.read_text(encoding="utf-8")) for path in status)
    }

    assert {"libc6", "libssl3t64", "python3.13-minimal"} <= {name for name, _ in installed}
    assert listed == installed
