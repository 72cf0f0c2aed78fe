"""What an archive is called by, and when one of the cache is taken; buildah is a stand-in here."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from images import archives, base, store
from images.archives import Archive, digest, ready
from images.plan import DOCKERFILE_BASE, IMAGES, LOCAL_BASE, Build, copied
from images.run import ROOT, CommandError

HOW = Build("1.2", "linux/amd64")

Built = list[str]


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of what the images are made of."""
    root = tmp_path / "project"
    for image in IMAGES:
        dockerfile = ROOT / f"Dockerfile.{image}"
        root.mkdir(exist_ok=True)
        shutil.copy(dockerfile, root)
        for source in copied(dockerfile.read_text(encoding="utf-8")):
            target = root / source
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, target)
    monkeypatch.setattr(archives, "ROOT", root)
    return root


def test_other_files_other_modes_and_another_version_have_another_digest(project: Path) -> None:
    def now(how: Build = HOW) -> tuple[str, str]:
        return digest("agent", how), digest("webhook", how)

    before = now()
    assert before[0] != before[1]
    assert now(Build("1.3", "linux/amd64"))[0] != before[0]
    assert now(Build("1.2", "linux/arm64"))[0] != before[0]
    assert now(Build("1.2", "linux/amd64", platform="linux/arm64"))[0] != before[0]
    assert now(Build("1.2", "linux/amd64", revision="abc", base="other", created="1")) == before

    (project / "ipagent/cli.py").write_text("# another\n", encoding="utf-8")
    assert now()[0] != before[0]
    assert now()[1] == before[1]

    before = now()
    (project / "images/build/dependencies.sh").chmod(0o644)
    assert now()[0] != before[0]
    assert now()[1] != before[1]


@pytest.mark.parametrize("left", ["ipagent/__pycache__/cli.cpython-311.pyc", "README.md"])
def test_a_file_outside_the_images_does_not_change_their_digest(project: Path, left: str) -> None:
    before = digest("agent", HOW)

    (project / left).parent.mkdir(exist_ok=True)
    (project / left).write_text("another", encoding="utf-8")

    assert digest("agent", HOW) == before


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """Which images were built, by a builder that takes no time."""
    done: Built = []

    def build(_: object, how: Build, image: str, folder: Path, *, quiet: bool = False) -> Archive:
        assert quiet
        assert how.base == LOCAL_BASE
        done.append(image)
        archive = Archive(image, how.version, folder)
        folder.mkdir()
        archive.file.touch()
        return archive

    monkeypatch.setattr(archives, "build", build)
    monkeypatch.setattr(base, "provide", lambda _: LOCAL_BASE)
    monkeypatch.setattr(store, "_tidy", lambda _: None)
    return done


def test_the_same_files_are_built_once(built: Built, project: Path, tmp_path: Path) -> None:
    first = ready(tmp_path / "cache", HOW)
    assert [archive.name for archive in first] == [
        "localhost/multus-eni-agent:1.2",
        "localhost/multus-eni-webhook:1.2",
    ]
    assert all(archive.file.is_file() for archive in first)
    assert ready(tmp_path / "cache", HOW) == first
    assert built == ["agent", "webhook"]

    (project / "webhook/core/decision.py").write_text("# another\n", encoding="utf-8")

    agent, webhook = ready(tmp_path / "cache", HOW)
    assert built == ["agent", "webhook", "webhook"]
    assert agent == first[0]
    assert webhook.file.is_file()


def test_a_failed_build_leaves_no_archive(
    built: Built, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.is_dir()
    whole = archives.build

    def fails(at: store.Store, how: Build, image: str, folder: Path, *, quiet: bool) -> Archive:
        whole(at, how, image, folder, quiet=quiet)
        raise CommandError("no space")

    monkeypatch.setattr(archives, "build", fails)
    with pytest.raises(CommandError, match="no space"):
        ready(tmp_path / "cache", HOW)
    monkeypatch.setattr(archives, "build", whole)

    ready(tmp_path / "cache", HOW)

    assert built == ["agent", "agent", "webhook"]


@pytest.mark.usefixtures("project")
def test_old_archives_go_where_there_are_many(built: Built, tmp_path: Path) -> None:
    agent, webhook = ready(tmp_path / "cache", HOW)
    cache = agent.folder.parent
    for age in range(9):
        (cache / f"used-{age}-days-ago").mkdir()
        os.utime(cache / f"used-{age}-days-ago", (time.time() - age * 86_400,) * 2)
    os.utime(agent.folder, (0, 0))

    ready(tmp_path / "cache", HOW)

    left = {path.name for path in cache.iterdir()}
    assert left == {agent.folder.name, webhook.folder.name, *(f"used-{age}-days-ago" for age in range(4))}
    assert built == ["agent", "webhook"]


@pytest.mark.usefixtures("project", "built")
def test_archives_that_were_asked_for_just_now_stay(tmp_path: Path) -> None:
    agent, _ = ready(tmp_path / "cache", HOW)
    for number in range(9):
        (agent.folder.parent / str(number)).mkdir()

    ready(tmp_path / "cache", HOW)

    assert len(list(agent.folder.parent.iterdir())) == 11


@pytest.mark.parametrize(
    ("has", "pulls", "expected"),
    [
        ({LOCAL_BASE, DOCKERFILE_BASE}, False, LOCAL_BASE),
        ({DOCKERFILE_BASE}, False, DOCKERFILE_BASE),
        (set(), True, DOCKERFILE_BASE),
        (set(), False, LOCAL_BASE),
    ],
)
def test_the_base_is_one_that_is_there_or_pulled_or_made(
    has: set[str], pulls: bool, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []

    def pull(_: object) -> str:
        if not pulls:
            raise CommandError("no such host")
        return ""

    monkeypatch.setattr(store.Store, "has", lambda _, name: name in has)
    monkeypatch.setattr(base, "output", pull)
    monkeypatch.setattr(base, "make", lambda _: made.append(LOCAL_BASE))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: name)

    assert base.provide(store.Store(tmp_path)) == expected
    assert made == ([LOCAL_BASE] if not has and not pulls else [])


def test_without_a_registry_and_without_rights_both_ways_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: object) -> str:
        raise CommandError("no such host")

    monkeypatch.setattr(store.Store, "has", lambda *_: False)
    monkeypatch.setattr(base, "output", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(CommandError, match=r"no such host\n.*make base-image"):
        base.provide(store.Store(tmp_path))
