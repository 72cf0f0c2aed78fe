"""Building what the chart's tests need; `go` is a stand-in here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.tools.binaries import TOOLS, Module
from tests.cluster.tools.build import BuildError, build

GO = """\
#!/bin/sh
echo "$@" >> "{log}"
if [ "$1" = tool ]; then echo generated; exit {status}; fi
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in first in PATH, and give where it writes what it is asked."""
    return fake_go(tmp_path, monkeypatch, status=0)


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Path:
    go = folder / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO.format(log=folder / "log", status=status), encoding="utf-8")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder / "log"


def test_what_a_tool_prints_becomes_the_file(log: Path) -> None:
    build([TOOLS["crds.yaml"]])
    assert TOOLS["crds.yaml"].built().read_text(encoding="utf-8") == "generated\n"
    assert log.read_text(encoding="utf-8").startswith("tool controller-gen crd:maxDescLen=0 paths=")


def test_a_tool_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path, monkeypatch, status=3)
    with pytest.raises(BuildError, match="`go tool` ended with status 3"):
        build([TOOLS["crds.yaml"]])
    assert not TOOLS["crds.yaml"].built().exists()


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("promtool", "-tags remove_all_sd"),
        ("helm4", "internal/version.version=v4.3.1"),
        ("helm3", "chartutil.k8sVersionMinor=36"),
    ],
)
def test_build_tags_and_stamps_reach_go(log: Path, name: str, flag: str) -> None:
    build([TOOLS[name]])
    assert flag in log.read_text(encoding="utf-8")


def test_stamped_versions_are_those_that_go_mod_requires() -> None:
    for tool in (TOOLS["helm4"], TOOLS["helm3"], TOOLS["helm-docs"]):
        assert any(define.endswith(f"version={tool.module.version}") for define in tool.module.defines)


def test_tags_and_defines_make_another_build() -> None:
    plain = Module("promtool", "github.com/prometheus/prometheus")
    assert TOOLS["promtool"].module.digest != plain.digest
