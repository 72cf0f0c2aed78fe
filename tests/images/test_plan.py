"""The command lines of `python -m images`, and what the Dockerfiles share with the project."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml

from common.version import VERSION
from images.__main__ import main
from images.plan import CHART, IMAGES, LOCAL_BASE, Build, install_command, repository

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]


def _pairs(argv: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(argv) if name == option]


def test_a_build_gets_its_base_its_platforms_and_the_ca() -> None:
    build = Build("1.2", "linux/amd64", revision="abc", base=LOCAL_BASE, ca="/ca.pem", created="1700000000")

    argv = build.argv("agent", "linux/arm64", ["--manifest", "name"])

    assert argv[0] == "build"
    assert _pairs(argv, "--platform") == ["linux/arm64"]
    assert set(_pairs(argv, "--build-arg")) == {
        "BUILDPLATFORM=linux/amd64",
        "VERSION=1.2",
        "REVISION=abc",
        f"BASE={LOCAL_BASE}",
    }
    assert _pairs(argv, "--secret") == ["id=ca,src=/ca.pem"]
    assert _pairs(argv, "--manifest") == ["name"]
    assert _pairs(argv, "--timestamp") == ["1700000000"]
    assert "--pull-never" in argv
    assert argv[-3:] == ["--file", "Dockerfile.agent", "."]


@pytest.mark.parametrize("base", ["", "registry.example/debian:trixie"])
def test_a_base_of_a_registry_is_pulled_and_no_ca_is_the_default(base: str) -> None:
    argv = Build("1.2", "linux/arm64", base=base).argv("webhook", "linux/arm64", ["--tag", "name"])

    assert "--pull-never" not in argv
    assert "--secret" not in argv
    assert "--timestamp" not in argv
    assert [each for each in _pairs(argv, "--build-arg") if each.startswith("BASE=")] == (
        [f"BASE={base}"] if base else []
    )


def test_the_install_command_names_the_digests() -> None:
    command = install_command(
        "r.example", "1.2", {"agent": "sha256:a", "webhook": "sha256:b", "chart": "sha256:c"}
    )

    words = shlex.split(command.replace("\\\n", " "))
    assert words[:4] == [
        "helm",
        "install",
        "multus-eni-injector",
        "oci://r.example/charts/multus-eni-injector@sha256:c",
    ]
    assert set(_pairs(words, "--set")) == {
        "image.registry=r.example",
        "image.tag=1.2",
        "image.agent.digest=sha256:a",
        "image.webhook.digest=sha256:b",
    }


@pytest.mark.parametrize("image", IMAGES)
def test_the_repository_is_the_charts_default(image: str) -> None:
    values = yaml.safe_load((ROOT / CHART / "values.yaml").read_text(encoding="utf-8"))

    assert values["image"][image]["repository"] == repository(image)


@pytest.mark.parametrize("image", IMAGES)
def test_a_dockerfile_without_arguments_builds_this_version(image: str) -> None:
    text = (ROOT / f"Dockerfile.{image}").read_text(encoding="utf-8")

    assert re.findall(r"^ARG VERSION=(.*)$", text, re.MULTILINE) == [VERSION]


def test_the_dockerfiles_make_the_layer_below_in_the_same_steps() -> None:
    steps = []
    for image in IMAGES:
        text = (ROOT / f"Dockerfile.{image}").read_text(encoding="utf-8")
        above, found, _ = text.partition("dependencies.sh")
        assert found
        steps.append(above.partition("ARG BASE")[2])

    assert steps[0] == steps[1]


def test_an_unknown_platform_is_refused_before_anything_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["push", "r.example", "--platforms", "linux/amd64,linux/riscv64"])

    assert ended.value.code == 2
    assert "linux/riscv64: none of linux/amd64, linux/arm64" in capsys.readouterr().err


def test_a_missing_program_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = tmp_path / "cache/multus-eni-injector/containers/storage/kept"
    kept.mkdir(parents=True)

    assert main(["build"]) == 1
    assert "buildah is not installed" in capsys.readouterr().err
    assert kept.exists()
