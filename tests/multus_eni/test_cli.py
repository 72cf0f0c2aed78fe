"""The command `multus-eni` where an extra is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multus_eni.cli import main

pytestmark = pytest.mark.pure

ON_A_LAPTOP = """
import sys
sys.modules.update(dict.fromkeys(["fastapi", "httptools", "prometheus_client", "uvicorn", "uvloop"]))
from multus_eni.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The command without what only the other extras bring."""
POD = "{apiVersion: v1, kind: Pod, metadata: {name: a}}"


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "pod.yaml"
    path.write_text(POD)
    return str(path)


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make the import of a package fail as it does where it is not installed."""
    for name in list(sys.modules):
        if name.split(".")[0] in (package, "webhook"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_without_arguments_the_commands_are_shown_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "say what is wrong with Multus on AWS in a cluster" in captured.err


@pytest.mark.parametrize("package", ["msgspec", "yaml"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: str, package: str
) -> None:
    without(monkeypatch, package)
    assert main(["explain", "-f", manifest]) == 2
    said = capsys.readouterr().err
    assert f"the Python package {package} is not installed" in said
    assert "multus-eni-injector[cli]" in said


def test_serve_names_the_extra_of_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: str
) -> None:
    without(monkeypatch, "fastapi")
    arguments = ["serve", "--config", manifest, "--tls-cert", manifest, "--tls-key", manifest]
    assert main(arguments) == 2
    assert "multus-eni-injector[webhook]" in capsys.readouterr().err


def test_a_missing_module_of_our_own_is_not_blamed_on_an_extra(
    monkeypatch: pytest.MonkeyPatch, manifest: str
) -> None:
    without(monkeypatch, "no_such_package")
    monkeypatch.setitem(sys.modules, "webhook.manifests.commands", None)
    with pytest.raises(ModuleNotFoundError, match=r"webhook\.manifests\.commands"):
        main(["explain", "-f", manifest])


def test_the_extra_for_laptops_is_enough(manifest: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("agent: {image: registry.example/agent:1}")
    node = tmp_path / "node.yaml"
    node.write_text("{apiVersion: v1, kind: Node, metadata: {name: a}}")
    for arguments, code in (
        (["explain", "-f", manifest], 0),
        (["inject", "-f", manifest, "--config", str(settings)], 0),
        (["check", "--dump", str(node)], 1),
    ):
        done = subprocess.run(
            [sys.executable, "-c", ON_A_LAPTOP, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert (done.returncode, done.stderr) == (code, ""), arguments
