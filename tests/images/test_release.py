"""What builds releases: workflows, Renovate, the base's digest and the snapshot of Debian."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import __main__ as command
from images.plan import DOCKERFILE_BASE, IMAGES, Build, base_of, is_pinned

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
DIGEST = "sha256:" + "0" * 64


def _workflow(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true; BaseLoader leaves all scalars texts.
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    return content


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in _workflow(path)["jobs"].values() for step in job.get("steps", ())]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_make_targets_and_files_exist(workflow: Path) -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    text = "\n".join(step.get("run", "") for step in _steps(workflow))
    called = {word for words in re.findall(r"\bmake ((?:[a-z0-9-]+ ?)+)", text) for word in words.split()}
    assert called
    assert called <= targets
    for job in _workflow(workflow)["jobs"].values():
        if uses := job.get("uses"):
            assert (ROOT / uses).is_file()
    assert all((ROOT / chart).is_dir() for chart in re.findall(r"charts/multus[a-z-]+(?= )", text))


def test_jobs_may_do_no_more_than_they_need(workflow: Path) -> None:
    content = _workflow(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in content["on"]
    allowed = {"contents": "write", "packages": "write", "id-token": "write", "attestations": "write"}
    wanted = {
        (workflow.stem, name): job["permissions"]
        for name, job in content["jobs"].items()
        if "permissions" in job
    }
    assert wanted == ({("release", "publish"): allowed} if workflow.stem == "release" else {})


def test_jobs_end_and_leave_no_token_in_the_clone(workflow: Path) -> None:
    for job in _workflow(workflow)["jobs"].values():
        assert "timeout-minutes" in job or "uses" in job
    checkouts = [step for step in _steps(workflow) if step.get("uses", "").startswith("actions/checkout")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


def test_actions_have_a_version_or_a_digest(workflow: Path) -> None:
    used = [step["uses"] for step in _steps(workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@(v\d+|[0-9a-f]{40})", each) for each in used)


def test_no_shell_reads_what_people_outside_may_write(workflow: Path) -> None:
    for step in _steps(workflow):
        expressions = re.findall(r"\$\{\{ *([^}]*?) *\}\}", step.get("run", ""))
        assert all(each.startswith("steps.push.outputs.") for each in expressions), step


def test_a_release_publishes_after_the_checks_and_the_tests() -> None:
    jobs = _workflow(ROOT / ".github/workflows/release.yaml")["jobs"]
    assert (jobs["tests"]["needs"], jobs["publish"]["needs"]) == ("ready", "tests")
    assert "python -m images release-ready" in jobs["ready"]["steps"][-1]["run"]
    assert set(_workflow(ROOT / ".github/workflows/ci.yaml")["jobs"]) == {"check", "test", "scan"}


def test_renovate_updates_the_bases_the_actions_and_the_lock() -> None:
    config = json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))
    (pattern,) = config["dockerfile"]["managerFilePatterns"]
    files = [path.name for path in ROOT.glob("Dockerfile.*") if re.search(pattern.strip("/"), path.name)]
    assert sorted(files) == [f"Dockerfile.{image}" for image in IMAGES]
    assert {"docker:pinDigests", "helpers:pinGitHubActionDigests"} <= set(config["extends"])
    assert set(config["enabledManagers"]) == {"dockerfile", "github-actions", "pep621"}


def test_both_images_are_built_in_one_base() -> None:
    bases = {base_of((ROOT / f"Dockerfile.{image}").read_text(encoding="utf-8")) for image in IMAGES}
    assert bases == {DOCKERFILE_BASE}


@pytest.mark.parametrize(
    ("base", "pinned"),
    [
        (f"docker.io/library/debian:trixie-slim@{DIGEST}", True),
        ("docker.io/library/debian:trixie-slim", False),
        ("docker.io/library/debian:trixie-slim@sha256:0", False),
        (f"{DIGEST}", False),
    ],
)
def test_only_a_base_with_a_whole_digest_counts_as_pinned(base: str, pinned: bool) -> None:
    assert is_pinned(base) is pinned


@pytest.mark.parametrize(
    ("agent", "webhook", "code"),
    [
        (f"d@{DIGEST}", f"d@{DIGEST}", 0),
        ("d:1", "d:1", 1),
        (f"d@{DIGEST}", "d:1", 1),
        (f"d@{DIGEST}", f"e@{DIGEST}", 1),
    ],
)
def test_a_release_is_refused_without_one_pinned_base(
    agent: str, webhook: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dockerfile.agent").write_text(f"ARG BASE={agent}\n")
    (tmp_path / "Dockerfile.webhook").write_text(f"ARG BASE={webhook}\n")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert command.main(["release-ready"]) == code


def test_a_build_takes_debian_of_a_day_only_if_told() -> None:
    told = Build("1.2", "linux/amd64", snapshot="20260101T000000Z")
    assert "SNAPSHOT=20260101T000000Z" in told.argv("agent", "linux/amd64", [])
    assert not any(
        "SNAPSHOT" in part for part in Build("1.2", "linux/amd64").argv("agent", "linux/amd64", [])
    )


def snapshot(root: Path, time: str) -> subprocess.CompletedProcess[str]:
    (root / "etc/apt/sources.list.d").mkdir(parents=True)
    (root / "etc/apt/sources.list.d/debian.sources").write_text("Types: deb\n")
    script = ROOT / "images/build/snapshot.sh"
    return subprocess.run([script, time, root], capture_output=True, text=True, check=False)


def test_a_snapshot_takes_the_place_of_all_sources(tmp_path: Path) -> None:
    assert snapshot(tmp_path, "20260101T000000Z").returncode == 0
    lines = (tmp_path / "etc/apt/sources.list").read_text().splitlines()
    assert [line.split()[3:] for line in lines] == [
        ["http://snapshot.debian.org/archive/debian/20260101T000000Z", "trixie", "main"],
        ["http://snapshot.debian.org/archive/debian/20260101T000000Z", "trixie-updates", "main"],
        ["http://snapshot.debian.org/archive/debian-security/20260101T000000Z", "trixie-security", "main"],
    ]
    assert not list((tmp_path / "etc/apt/sources.list.d").iterdir())


@pytest.mark.parametrize(("time", "code"), [("", 0), ("20260101", 2), ("20260101T000000Z/..", 2)])
def test_without_a_time_the_sources_stay(time: str, code: int, tmp_path: Path) -> None:
    assert snapshot(tmp_path, time).returncode == code
    assert (tmp_path / "etc/apt/sources.list.d/debian.sources").exists()
    assert not (tmp_path / "etc/apt/sources.list").exists()
