"""Finding and building programs; `go` is a stand-in here: it writes what it is asked to build."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.tools import CONTROL_PLANE, Binaries, Missing, find_binaries
from tests.cluster.tools.binaries import TOOLS, Module

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]

GO = """\
#!/bin/sh
echo "$@" >> "{log}"
while [ "$1" != -o ]; do shift; done
echo built > "$2"
{more}
"""


def program(folder: Path, name: str, text: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is found."""
    return {"PATH": str(tmp_path / "path"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


@pytest.fixture
def tools(env: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.cluster.tools", *arguments],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def fake_go(env: dict[str, str], tmp_path: Path, more: str = "") -> Path:
    log = tmp_path / "go.log"
    program(Path(env["PATH"]), "go", GO.format(log=log, more=more))
    return log


def test_assets_come_before_path_and_path_before_what_was_built(env: dict[str, str], tmp_path: Path) -> None:
    env["KUBEBUILDER_ASSETS"] = str(tmp_path / "assets")
    assert isinstance(find_binaries(["etcd"], env), Missing)
    built = program(TOOLS["etcd"].built(env).parent, "etcd")
    assert find_binaries(["etcd"], env) == Binaries({"etcd": built})
    in_path = program(Path(env["PATH"]), "etcd")
    assert find_binaries(["etcd"], env) == Binaries({"etcd": in_path})
    asset = program(Path(env["KUBEBUILDER_ASSETS"]), "etcd")
    assert find_binaries(["etcd"], env) == Binaries({"etcd": asset})


def test_each_program_is_looked_for_by_itself(env: dict[str, str], tmp_path: Path) -> None:
    env["KUBEBUILDER_ASSETS"] = str(tmp_path / "assets")
    program(Path(env["KUBEBUILDER_ASSETS"]), "kube-apiserver")
    program(Path(env["PATH"]), "etcd")
    missing = find_binaries(env=env)
    assert missing == Missing(("kube-controller-manager",))
    assert "kube-controller-manager; `make tools`" in str(missing)


def test_the_cache_is_in_the_users_cache_folder(env: dict[str, str], tmp_path: Path) -> None:
    assert TOOLS["etcd"].built(env).is_relative_to(tmp_path / "cache" / "multus-eni-injector" / "tools")
    del env["XDG_CACHE_HOME"]
    assert TOOLS["etcd"].built(env).is_relative_to(tmp_path / ".cache")


def test_other_sources_or_another_stamp_make_another_build(tmp_path: Path) -> None:
    module = TOOLS["kube-apiserver"].module
    assert module.version == "v1.36.3"
    assert "-X k8s.io/component-base/version.gitMinor=36" in module.ldflags
    assert dataclasses.replace(module, stamp="").digest != module.digest
    assert TOOLS["etcd"].module.digest != module.digest

    class Copied(Module):
        folder = tmp_path

    for name in ("go.mod", "go.sum"):
        shutil.copy(module.folder / name, tmp_path)
    assert Copied(module.name, module.requirement, module.stamp).digest == module.digest
    with (tmp_path / "go.sum").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert Copied(module.name, module.requirement, module.stamp).digest != module.digest


def test_sources_of_our_own_make_another_build(tmp_path: Path) -> None:
    module = TOOLS["ipvlan"].module

    class Copied(Module):
        folder = tmp_path

    shutil.copytree(module.folder, tmp_path, dirs_exist_ok=True)
    copied = Copied(module.name, module.requirement, sources=module.sources)
    assert copied.digest == module.digest
    assert sorted(module.sources) == sorted(path.name for path in module.folder.glob("*.go"))

    (tmp_path / "main.go").write_text("package main\n", encoding="utf-8")

    assert Copied(module.name, module.requirement, sources=module.sources).digest != module.digest


def test_without_go_and_programs_optional_says_so_and_succeeds(
    tools: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    ended = tools("--optional")
    assert ended.returncode == 0
    (line,) = ended.stderr.splitlines()
    assert all(name in line for name in (*CONTROL_PLANE, "install Go", "skipped"))


def test_without_go_and_programs_it_fails(tools: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ended = tools()
    assert ended.returncode == 1
    assert "install Go" in ended.stderr


def test_what_is_missing_is_built_once(
    tools: Callable[..., subprocess.CompletedProcess[str]], env: dict[str, str], tmp_path: Path
) -> None:
    log = fake_go(env, tmp_path)
    program(Path(env["PATH"]), "etcd")
    first = tools(*CONTROL_PLANE)
    assert first.returncode == 0, first.stderr
    assert "building kube-apiserver v1.36.3 (the first time takes minutes)" in first.stderr
    assert first.stdout.splitlines() == [
        f"etcd: {env['PATH']}/etcd",
        *(f"{name}: {TOOLS[name].built(env)}" for name in CONTROL_PLANE[1:]),
    ]
    built = log.read_text(encoding="utf-8")
    assert [line.split()[-1] for line in built.splitlines()] == [
        TOOLS[name].package for name in CONTROL_PLANE[1:]
    ]
    second = tools(*CONTROL_PLANE)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    assert log.read_text(encoding="utf-8") == built


@pytest.mark.parametrize(("arguments", "status"), [(["etcd"], 1), (["--optional", "etcd"], 0)])
def test_a_build_that_fails_leaves_nothing_behind(
    tools: Callable[..., subprocess.CompletedProcess[str]],
    env: dict[str, str],
    tmp_path: Path,
    arguments: list[str],
    status: int,
) -> None:
    fake_go(env, tmp_path, more="echo 'go: no route to the proxy' >&2; exit 1")
    ended = tools(*arguments)
    assert ended.returncode == status
    assert "go: no route to the proxy" in ended.stderr
    assert "etcd was not built: `go build` ended with status 1" in ended.stderr
    assert [path.name for path in TOOLS["etcd"].built(env).parent.iterdir()] == ["etcd.lock"]


def test_two_builds_at_a_time_build_once(env: dict[str, str], tmp_path: Path) -> None:
    log = fake_go(env, tmp_path, more="/bin/sleep 0.5")
    command = [sys.executable, "-m", "tests.cluster.tools", "etcd"]
    both = [subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("being built by another process" in text for text in said) == [False, True]
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1


def test_an_unknown_name_is_refused(tools: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ended = tools("kube-proxy")
    assert ended.returncode == 2
    assert "unknown: kube-proxy; known: etcd, kube-apiserver" in ended.stderr
