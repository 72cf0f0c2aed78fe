"""The docker archives that nodes import, as files; the cluster's tests import and start them."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images.run import CommandError
from tests.cluster.nodes import images
from tests.cluster.nodes import unpacked as unpacking
from tests.cluster.nodes.images import (
    AGENT,
    BUSYBOX,
    PAUSE,
    WEBHOOK,
    ImagesMissingError,
    built,
    node_images,
    plumbing,
)
from tests.cluster.nodes.unpacked import lay_out, unpacked
from tests.skipping import skip

pytestmark = pytest.mark.cluster


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    try:
        return plumbing(tmp_path)
    except ImagesMissingError as missing:
        skip(missing)


def read(archive: Path) -> tuple[str, dict[str, Any], tarfile.TarFile]:
    """Return an archive's image: name, description and its one layer; every digest in it is checked."""
    with tarfile.open(archive) as content:
        files = {member.name: content.extractfile(member) for member in content}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    (image,) = json.loads(contents["manifest.json"])
    assert hashlib.sha256(contents[image["Config"]]).hexdigest() == Path(image["Config"]).stem
    description = json.loads(contents[image["Config"]])
    (layer,) = image["Layers"]
    (name,) = image["RepoTags"]
    assert description["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(contents[layer]).hexdigest()}"]
    plain = archive.with_suffix(".layer")
    plain.write_bytes(contents[layer])
    return name, description, tarfile.open(plain)


def test_busybox_has_its_applets_and_what_programs_expect_of_a_root(made: tuple[Path, Path]) -> None:
    name, description, layer = read(made[1])
    with layer:
        assert name == BUSYBOX
        assert description["config"]["Cmd"] == ["/bin/sh"]
        assert {"bin/sh", "bin/sleep", "bin/nc", "bin/ip", "bin/ping"} <= set(layer.getnames())
        assert {layer.getmember(f"bin/{applet}").linkname for applet in ("sh", "nc")} == {"bin/busybox"}
        passwd = layer.extractfile("etc/passwd")
        assert passwd is not None
        assert "nobody:x:65534:65534:" in passwd.read().decode()
        assert layer.getmember("tmp").mode == 0o1777


def test_pause_is_the_same_files_with_another_command(made: tuple[Path, Path]) -> None:
    (name, description, pause), (_, other, busybox) = (read(each) for each in made)
    with pause, busybox:
        assert name == PAUSE
        assert description["rootfs"] == other["rootfs"]
        assert description["config"]["Entrypoint"][:2] == ["/bin/sh", "-c"]


def test_the_same_busybox_makes_the_same_bytes(made: tuple[Path, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    assert [path.read_bytes() for path in plumbing(again)] == [path.read_bytes() for path in made]


def test_a_busybox_that_needs_libraries_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "busybox").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ImagesMissingError, match="busybox-static"):
        plumbing(tmp_path)


def test_what_cannot_be_built_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CommandError("buildah is not installed")

    monkeypatch.setattr(images, "ready", refuse)

    with pytest.raises(ImagesMissingError, match="can't be built here: buildah is not installed"):
        built()


def test_nodes_get_all_four(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = (tmp_path / "agent.tar", tmp_path / "webhook.tar")
    monkeypatch.setattr(images, "built", lambda: ours)

    assert node_images(tmp_path) == (*made, *ours)
    assert [name.partition(":")[0] for name in (AGENT, WEBHOOK)] == [
        "localhost/multus-eni-agent",
        "localhost/multus-eni-webhook",
    ]


def test_nodes_share_the_files_of_images_and_have_databases_of_their_own(tmp_path: Path) -> None:
    source, nodes = tmp_path / "unpacked", [tmp_path / "n1", tmp_path / "n2"]
    layer, database = Path("snapshots", "1", "file"), Path("bolt", "meta.db")
    for file in (layer, database):
        (source / file).parent.mkdir(parents=True)
        (source / file).write_text("as imported", encoding="utf-8")
    for node in nodes:
        node.mkdir()
        lay_out(source, node)
        (node / database).write_text("changed", encoding="utf-8")
    assert (source / database).read_text(encoding="utf-8") == "as imported"
    assert len({(folder / layer).stat().st_ino for folder in (source, *nodes)}) == 1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of what is unpacked, where unpacking makes an empty folder."""
    monkeypatch.setattr(unpacking, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(unpacking, "_import", lambda _, __, folder: (folder / "root").mkdir())
    return tmp_path / "unpacked"


@pytest.mark.usefixtures("cache")
def test_what_another_configuration_of_containerd_makes_of_images_is_unpacked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = unpacked([], [])
    assert unpacked([], []) == first
    monkeypatch.setattr(unpacking, "importing", lambda root: f'root = "{root}"')
    assert unpacked([], []) != first


def test_what_a_killed_run_has_left_half_unpacked_is_removed(cache: Path) -> None:
    left = cache / ".unpacking-killed"
    (left / "root").mkdir(parents=True)
    found = unpacked([], [])
    assert found.is_dir()
    assert not left.exists()
