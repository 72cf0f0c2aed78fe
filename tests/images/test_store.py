"""The storage that buildah uses: what a killed build leaves in it, by the real buildah."""

from __future__ import annotations

import io
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

from images.store import Store, opened
from tests.images.conftest import need
from tests.images.container import call

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from images.store import opened
with opened(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    need("buildah")
    return tmp_path


def _image(store: Store, name: str) -> None:
    container = call(*store.buildah("from", "scratch")).strip()
    call(*store.buildah("commit", "--quiet", "--rm", container, name))


def test_images_stay(folder: Path) -> None:
    with opened(folder) as store:
        _image(store, "localhost/one:1")
    with opened(folder) as store:
        assert store.has("localhost/one:1")
        assert not store.has("localhost/two:1")


def test_containers_of_a_killed_build_go(folder: Path) -> None:
    with opened(folder) as store:
        container = call(*store.buildah("from", "scratch")).strip()
        mounted = Path(call(*store.buildah("mount", container)).strip())
        assert mounted.is_dir()
    with opened(folder) as store:
        assert call(*store.buildah("containers", "--quiet")) == ""
        assert not mounted.is_mount()


def test_the_parts_of_a_killed_build_are_removed(folder: Path) -> None:
    left = folder / ".building-it"
    (left / "root/proc").mkdir(parents=True)
    call("mount", "-t", "tmpfs", "tmpfs", left / "root/proc")

    with opened(folder) as store, store.workspace() as workspace:
        assert not left.exists()
        assert list(workspace.iterdir()) == []
    assert not workspace.exists()


def test_an_unreadable_storage_is_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(folder) as store:
        _image(store, "localhost/one:1")
        container = call(*store.buildah("from", "localhost/one:1")).strip()
        call(*store.buildah("mount", container))
        (images,) = (folder / "storage").glob("*-images/images.json")
        images.write_text("[{", encoding="utf-8")

    with opened(folder) as store:
        assert not store.has("localhost/one:1")
        _image(store, "localhost/two:1")
        assert store.has("localhost/two:1")

    assert f"the storage in {folder} can't be read and is made anew" in capsys.readouterr().err
    store.remove()


def test_from_many_images_on_those_without_a_name_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(folder) as store:
        for _ in range(3):
            # Each takes the name from the one before.
            _image(store, "localhost/one:1")
        _image(store, "localhost/two:1")
    images = store.buildah("images", "--all", "--quiet", "--no-trunc")
    before = call(*images).split()
    with opened(folder):
        assert call(*images).split() == before

    monkeypatch.setattr("images.store.MOST_IMAGES", len(before))
    with opened(folder) as store:
        assert store.has("localhost/one:1")
        assert store.has("localhost/two:1")
        assert len(call(*images).split()) == 2 < len(before)


def test_dropping_a_leftover_index_leaves_no_image(folder: Path) -> None:
    with opened(folder) as store:
        call(*store.buildah("manifest", "create", "localhost/index:1"))
        store.drop_index("localhost/index:1")
        store.drop_index("localhost/index:1")

        assert call(*store.buildah("images", "--quiet")) == ""


def test_one_process_at_a_time_has_it(folder: Path) -> None:
    def holder() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLD, folder],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with holder() as first, holder() as second:
        # Whichever comes second says so; then the first lets go.
        waiting, holding = _who_waits(first, second)
        holding.communicate()
        said = waiting.communicate()

    assert said == ("open\n", "")


def _who_waits(
    first: subprocess.Popen[str], second: subprocess.Popen[str]
) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    with selectors.DefaultSelector() as selector:
        for waiting, holding in ((first, second), (second, first)):
            assert waiting.stderr is not None
            selector.register(waiting.stderr, selectors.EVENT_READ, (waiting, holding))
        ((key, _), *_) = selector.select(60)
    said = key.fileobj
    assert isinstance(said, io.TextIOBase)
    assert said.readline() == "images: another process builds: waiting for it\n"
    found: tuple[subprocess.Popen[str], subprocess.Popen[str]] = key.data
    return found
