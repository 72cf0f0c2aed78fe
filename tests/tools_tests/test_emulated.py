"""How a command of an image is started by an emulator, as the kernel starts it: execve(2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.arm64.emulated import resolved

pytestmark = pytest.mark.pure

FOLDERS = ["/usr/local/bin", "/usr/bin"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "usr/bin/python3": b"\x7fELF",
        "usr/local/bin/ipagent": b"#!/usr/bin/python3 -I  -S\nimport sys\n",
        "usr/local/bin/plain": b"#! /bin/sh\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "started"),
    [
        (["python3", "-c", "1"], ["/usr/bin/python3", "-c", "1"]),
        (["/usr/bin/python3"], ["/usr/bin/python3"]),
        (["ipagent", "init"], ["/usr/bin/python3", "-I  -S", "/usr/local/bin/ipagent", "init"]),
        (["/usr/local/bin/plain", "a"], ["/bin/sh", "/usr/local/bin/plain", "a"]),
    ],
)
def test_a_command_is_looked_up_and_a_script_has_its_interpreter(
    root: Path, argv: list[str], started: list[str]
) -> None:
    assert resolved(root, FOLDERS, argv) == started


def test_a_command_that_is_nowhere_is_named_with_the_places(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sh is in none of /usr/local/bin/sh, /usr/bin/sh"):
        resolved(root, FOLDERS, ["sh"])
