"""The files that CNI configurations are written to, and what is reported of them."""

from __future__ import annotations

import io
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ipagent.links import cni_files
from ipagent.links.cni_files import NOT_MOUNTED, CniFiles
from ipagent.links.plan import LinkStatus
from ipagent.links.pool import PoolReport, PrefixUse, uses
from ipagent.log import Log
from tests.ipagent.links.pools import MAC, POOL, UP, V4, V4B, V6

pytestmark = pytest.mark.pure


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def files(tmp_path: Path) -> CniFiles:
    (tmp_path / "net.d").mkdir()
    (tmp_path / "run").mkdir()
    return CniFiles(tmp_path / "net.d", Clock(), Log(stream=io.StringIO()), tmp_path / "run" / "cni")


def reserve(files: CniFiles, *addresses: str) -> None:
    folder = files.data / "oam"
    folder.mkdir(parents=True, exist_ok=True)
    for each in (*addresses, "lock", "last_reserved_ip.0"):
        (folder / each).write_text("container\r\nnet1")


def test_a_prefixs_use_is_that_of_host_locals_files(files: CniFiles) -> None:
    reserve(files, "10.10.1.16", "10.10.1.31", "10.10.1.64", "2001:db8:10:1:7::1", "10.10.1.200")
    names = files.reserved("oam")
    assert names is not None
    pool = replace(POOL, active=(V4, V6), known=(V4, V4B, V6))
    assert uses(pool, names, offered=True) == (
        PrefixUse(V4, 2, True),
        PrefixUse(V4B, 1, False),
        PrefixUse(V6, 1, True),
    )


def test_a_configuration_is_written_once_and_goes_with_its_network(files: CniFiles) -> None:
    assert files.folder is not None
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    path = files.folder / "99-multus-eni-oam.conflist"
    assert status == PoolReport(str(path), "", (PrefixUse(V4, 0, True),))
    assert json.loads(path.read_text())["name"] == "oam"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    written = path.stat().st_ino
    files.apply({"n1.oam": (POOL, UP)})
    assert path.stat().st_ino == written
    files.apply({"n1.oam": (replace(POOL, active=(V4, V4B), known=(V4, V4B)), UP)})
    assert len(json.loads(path.read_text())["plugins"][0]["ipam"]["ranges"][0]) == 2
    other = files.folder / "00-multus.conf"
    other.write_text("{}")
    # The network goes back to single addresses, and its NodeAttachment at last.
    files.apply({"n1.oam": (replace(POOL, families=(), active=()), UP)})
    assert [each.name for each in files.folder.iterdir()] == ["00-multus.conf"]
    files.apply({"n1.oam": (POOL, UP)})
    files.apply({})
    assert [each.name for each in files.folder.iterdir()] == ["00-multus.conf"]


def test_an_interface_that_is_away_takes_the_configuration_along(files: CniFiles) -> None:
    files.apply({"n1.oam": (POOL, UP)})
    reserve(files, "10.10.1.16")
    status = files.apply({"n1.oam": (POOL, LinkStatus(MAC))})["n1.oam"]
    assert files.folder is not None
    assert not list(files.folder.iterdir())
    assert status == PoolReport("", "", (PrefixUse(V4, 1, False),))


def test_in_the_runtimes_folder_it_waits_for_the_clusters_own_network(
    files: CniFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.folder is not None
    monkeypatch.setattr(cni_files, "RUNTIME_FOLDER", files.folder)
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    assert "has no other network yet" in status.message
    assert status.uses == (PrefixUse(V4, 0, False),)
    assert not list(files.folder.iterdir())
    (files.folder / "10-aws.conflist").write_text("{}")
    assert files.apply({"n1.oam": (POOL, UP)})["n1.oam"].message == ""


def test_what_can_not_be_written_is_said(files: CniFiles) -> None:
    files.folder = Path("/proc/none")
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    assert "99-multus-eni-oam.conflist can't be written" in status.message
    assert status.uses == (PrefixUse(V4, 0, False),)


def test_where_it_is_not_known_what_pods_have_nothing_is_said_of_prefixes(files: CniFiles) -> None:
    reserve(files, "10.10.1.16")
    files.data = files.data.parent / "none" / "cni"
    status = files.apply({"n1.oam": (POOL, UP)})["n1.oam"]
    assert status.uses == ()
    assert "can't be read" in status.message
    files.folder = None
    assert files.apply({"n1.oam": (POOL, UP)})["n1.oam"] == PoolReport("", NOT_MOUNTED)


def test_not_each_pod_is_a_report(files: CniFiles) -> None:
    pool = replace(POOL, active=(V4, V4B), known=(V4, V4B))

    def used(*addresses: int) -> list[int]:
        reserve(files, *(f"10.10.1.{each}" for each in addresses))
        return [use.used for use in files.apply({"n1.oam": (pool, UP)})["n1.oam"].uses]

    assert used() == [0, 0]
    assert used(16) == [1, 0], "the first pod of a prefix"
    assert used(17, 18) == [1, 0]
    assert files.retry_in() == 30
    files.clock.now += 31  # type: ignore[attr-defined] # Clock
    assert used() == [3, 0]
    assert files.retry_in() is None
    files.clock.now += 3600  # type: ignore[attr-defined] # Clock
    assert used() == [3, 0]
    assert files.retry_in() is None, "nothing is put off: only a change makes more to do"
    assert used(*range(19, 32), 64) == [16, 1], "few are left"
    assert used(65) == [16, 2]
