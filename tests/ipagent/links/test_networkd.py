"""Files by which systemd-networkd leaves interfaces alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from common.agent_settings import LogFormat
from ipagent.links.networkd import NetworkFiles
from ipagent.links.plan import WantedLink
from ipagent.log import Log

pytestmark = pytest.mark.pure

OAM, SIG = WantedLink("n1.oam", "02:aa:00:00:00:01", "oam"), WantedLink("n1.sig", "02:aa:00:00:00:02", "sig")
THEIRS = "70-ens6.network"


def files(folder: Path) -> tuple[NetworkFiles, io.StringIO]:
    log = io.StringIO()
    return NetworkFiles(folder, Log(form=LogFormat.JSON, stream=log)), log


def test_each_interface_has_a_file_as_long_as_it_is_a_networks(tmp_path: Path) -> None:
    (tmp_path / THEIRS).write_text("[Match]\n", encoding="utf-8")
    found, log = files(tmp_path)
    found.sync([OAM, SIG])
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["05-multus-eni-02aa00000001.network", "05-multus-eni-02aa00000002.network", THEIRS]
    text = (tmp_path / names[0]).read_text(encoding="utf-8")
    assert "[Match]\nMACAddress=02:aa:00:00:00:01\n\n[Link]\nUnmanaged=yes\n" in text
    before = (tmp_path / names[1]).stat().st_mtime_ns
    found.sync([SIG])
    assert sorted(each.name for each in tmp_path.iterdir()) == [names[1], THEIRS]
    assert (tmp_path / names[1]).stat().st_mtime_ns == before
    assert log.getvalue() == ""


def test_a_folder_that_can_not_be_written_is_said_once_with_the_remedy(tmp_path: Path) -> None:
    found, log = files(tmp_path / "missing")
    found.sync([OAM])
    found.sync([OAM])
    assert log.getvalue().count("networkd-failed") == 1
    assert "exclude the interfaces on the node as docs/networks.md shows" in log.getvalue()
