"""scripts/system-packages.sh, with a table of its own and stand-ins for apt-get and id."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

SCRIPT = Path(__file__).parents[2] / "scripts" / "system-packages.sh"
MISSING = """
no-such-command-1 | first-package | one thing
no-such-command-2 | first-package | another
no-such-command-3 | second-package | a third
id | coreutils | there already
"""

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    text = SCRIPT.read_text(encoding="utf-8")

    def script(
        *arguments: str,
        uid: int,
        table: str = MISSING,
        images: str = "",
        arm64: str = "",
        apt: str | None = "exit 0",
    ) -> Ended:
        changed = text
        for name, content in (("needed", table), ("for_images", images), ("for_arm64", arm64)):
            changed = _with(changed, name, content)
        copy = tmp_path / "system-packages.sh"
        copy.write_text(changed, encoding="utf-8")
        commands = {"id": f"echo {uid}", "systemctl": f'echo "systemctl $@" >> {tmp_path}/apt.log'}
        if apt is not None:
            commands["apt-get"] = f'echo "$@" >> {tmp_path}/apt.log; {apt}'
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, body in commands.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
        return subprocess.run(
            ["/bin/bash", copy, *arguments],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    return script


def _with(script: str, name: str, table: str) -> str:
    before, found, rest = script.partition(f"\n{name}='")
    assert found
    after = rest.partition("'")[2]
    return f"{before}{found}{table}'{after}"


def asked(tmp_path: Path) -> list[str]:
    log = tmp_path / "apt.log"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def test_nothing_happens_where_all_is_there(run: Run, tmp_path: Path) -> None:
    done = run("--require", uid=0, table="\nid | coreutils | there already\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert asked(tmp_path) == []


def test_root_installs_each_missing_package_once_and_says_why(run: Run, tmp_path: Path) -> None:
    done = run(uid=0)
    assert done.returncode == 0
    assert "first-package: another" in done.stderr
    assert asked(tmp_path) == ["install -y -qq --no-install-recommends first-package second-package"]


def test_where_the_package_list_is_old_it_is_renewed(run: Run, tmp_path: Path) -> None:
    marker = tmp_path / "renewed"
    done = run("--require", uid=0, apt=f'if [ "$1" = update ]; then : > {marker}; else [ -e {marker} ]; fi')
    assert done.returncode == 0
    assert [line.split()[0] for line in asked(tmp_path)] == ["install", "update", "install"]


def test_the_services_of_what_it_installs_are_never_started(run: Run, tmp_path: Path) -> None:
    done = run(uid=0, table="\nno-such-command | containerd | pods\nno-such-command | skopeo | copies\n")
    assert done.returncode == 0
    assert asked(tmp_path) == [
        "systemctl mask --runtime --quiet containerd",
        "install -y -qq --no-install-recommends containerd skopeo",
        "systemctl unmask --runtime --quiet containerd",
        "systemctl disable --quiet containerd",
    ]


def test_only_what_images_need_where_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    done = run("--images", uid=0, images="\nno-such-command | buildah | builds\n")
    assert done.returncode == 0
    assert asked(tmp_path) == ["install -y -qq --no-install-recommends buildah"]


@pytest.mark.parametrize(("arguments", "more"), [((), ""), (("--arm64",), " third-package")])
def test_the_emulator_where_that_is_asked_for_beside_the_rest(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], more: str
) -> None:
    done = run(*arguments, uid=0, arm64="\nno-such-command-4 | third-package | emulates\n")
    assert done.returncode == 0
    assert asked(tmp_path) == [f"install -y -qq --no-install-recommends first-package second-package{more}"]


def test_what_cannot_be_installed_is_said(run: Run) -> None:
    done = run("--require", uid=0, apt="exit 100")
    assert done.returncode == 1
    assert "could not install first-package second-package" in done.stderr


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--require",), 1)])
def test_others_are_told_what_to_install(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], status: int
) -> None:
    done = run(*arguments, uid=1000)
    assert done.returncode == status
    assert "apt-get install first-package second-package" in done.stderr
    assert asked(tmp_path) == []


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--require",), 1)])
def test_a_root_without_apt_is_told_what_to_install(
    run: Run, arguments: tuple[str, ...], status: int
) -> None:
    done = run(*arguments, uid=0, apt=None)
    assert done.returncode == status
    assert "apt-get install first-package second-package" in done.stderr


def test_a_wrong_argument_is_refused(run: Run) -> None:
    assert run("--force", uid=0).returncode == 2
