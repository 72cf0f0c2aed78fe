"""Which checkout begins with another one's cache of mypy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import typecheck
from tests.typecheck import CACHE, keep, take_over

pytestmark = pytest.mark.pure


def checkout(root: Path, at: float, *, lock: str = "1") -> Path:
    (root / "package").mkdir(parents=True)
    for name in ("uv.lock", "pyproject.toml", "package/module.py"):
        (root / name).write_text(lock)
        os.utime(root / name, (at, at))
    return root


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, int]:
    """A store, and the second that its cache is younger than."""
    before = checkout(tmp_path / "before", 4e9)
    (before / CACHE).mkdir()
    (before / CACHE / "cache.db").write_text("kept")
    (store := tmp_path / "mypy").mkdir()
    keep(before, store)
    return store, int(4e9) + 1


def test_a_younger_checkout_begins_with_the_kept_cache(tmp_path: Path, kept: tuple[Path, int]) -> None:
    store, second = kept
    root = checkout(tmp_path / "new", second + 1)
    assert take_over(root, store)
    assert (root / CACHE / "cache.db").read_text() == "kept"


@pytest.mark.parametrize("earlier", [0.0, 1.0, 1e6])
def test_a_file_that_may_be_as_old_as_the_cache_is_never_looked_for_in_it(
    tmp_path: Path, kept: tuple[Path, int], earlier: float
) -> None:
    store, second = kept
    root = checkout(tmp_path / "new", second + 10)
    os.utime(root / "package/module.py", (second - earlier, second - earlier))
    assert not take_over(root, store)
    assert not (root / CACHE).exists()


def test_bytecode_does_not_count(tmp_path: Path, kept: tuple[Path, int]) -> None:
    store, second = kept
    root = checkout(tmp_path / "new", second + 1)
    bytecode = root / "package/__pycache__/module.cpython-311.pyc.140012"
    bytecode.parent.mkdir()
    bytecode.write_bytes(b"")
    os.utime(bytecode, (second - 10, second - 10))
    assert take_over(root, store)


def test_a_run_that_has_waited_for_another_one_in_its_checkout_leaves_that_ones_cache(
    tmp_path: Path, kept: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, second = kept
    root = checkout(tmp_path / "new", second + 1)
    before = (store / typecheck.STAMP).read_text()

    @contextmanager
    def after_the_other(_: Path) -> Iterator[None]:
        (root / CACHE).mkdir()
        (root / CACHE / "cache.db").write_text("of the other run")
        yield

    monkeypatch.setattr(typecheck, "ROOT", root)
    monkeypatch.setattr(typecheck, "cache_folder", lambda: store.parent)
    monkeypatch.setattr(typecheck, "_alone", after_the_other)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    assert typecheck.main([]) == 0
    assert (root / CACHE / "cache.db").read_text() == "of the other run"
    assert (store / typecheck.STAMP).read_text() == before


def test_other_packages_begin_anew(tmp_path: Path, kept: tuple[Path, int]) -> None:
    store, second = kept
    root = checkout(tmp_path / "new", second + 1, lock="2")
    assert not take_over(root, store)
    assert not (root / CACHE).exists()


def test_without_a_kept_cache_it_begins_anew(tmp_path: Path) -> None:
    assert not take_over(checkout(tmp_path / "new", 4e9), tmp_path / "store")
