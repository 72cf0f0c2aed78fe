"""`multus-eni check` as a command: a dump in, lines and an exit code out."""

from __future__ import annotations

import io
import json
import os
import sys
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from check.results import PAGE
from check.run import CHECKS
from multus_eni.cli import main
from tests.check.test_cases import CASES, NOW, documents

pytestmark = pytest.mark.pure

SECONDS = datetime.fromisoformat(NOW).timestamp()


def dump(folder: Path, case: str = "") -> Path:
    """Write a dump of several files, as of the cases' time."""
    read = yaml.safe_load((CASES / f"{case}.yaml").read_text()) if case else {}
    found = documents(read)
    kinds = {str(each.get("kind")) for each in found}
    for kind in kinds:
        these = [each for each in found if str(each.get("kind")) == kind]
        if kind == "Pod":
            file, text = "pods.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": these})
        else:
            file, text = f"{kind}.yaml", yaml.safe_dump_all(these)
        (folder / file).write_text(text)
        os.utime(folder / file, (SECONDS, SECONDS))
    return folder


def check(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = main(["check", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_a_healthy_dump_passes_and_what_it_cannot_tell_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "--dump", dump(tmp_path))
    assert code == 0
    assert "✓ the webhook's certificate is valid" in out
    assert "- a pod is really injected: skipped: only a live cluster can be asked" in out
    assert "\x1b" not in out


def test_an_error_is_shown_with_its_remedy_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "--dump", dump(tmp_path, "address-twice"), "-o", "short")
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "✗ no address is in two pods"
    assert lines[1].strip() == "10.10.1.10 is in apps/sip-1, apps/sip-2"
    assert lines[2].strip().startswith("remedy: ")
    assert lines[3].strip() == f"see {PAGE}#pods-duplicates"
    assert lines[4].startswith(f"{len(CHECKS)} checks: 1 errors, 0 warnings")


def test_warnings_alone_end_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(capsys, "--dump", dump(tmp_path, "network-macvlan"), "-o", "json")
    assert code == 3
    found = {each["id"]: each for each in json.loads(out)}
    assert found["cluster-plugin"]["verdict"] == "warning"
    assert found["cluster-plugin"]["details"] == ["apps/signalling: macvlan gives pods a MAC that no ENI has"]
    assert found["cluster-multus"]["remedy"] is None


@pytest.mark.parametrize(
    ("case", "arguments", "code"),
    [
        ("pod-without-agent", ["-n", "other"], 0),
        ("pod-without-agent", ["-n", "apps"], 1),
        ("pod-without-agent", ["-n", "apps", "--pod", "sip-1"], 0),
        ("pod-without-agent", ["-n", "apps", "--pod", "sip-2"], 1),
        ("pod-without-agent", ["--pre"], 0),
        ("not-installed", ["--pre"], 0),
        ("network-not-json", ["--pre"], 1),
    ],
)
def test_the_scope_decides_what_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, arguments: list[str], code: int
) -> None:
    assert check(capsys, "--dump", dump(tmp_path, case), *arguments)[0] == code


def test_an_output_without_marks_gets_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["check", "--dump", str(dump(tmp_path, "address-twice")), "-o", "short"]) == 1
    out.seek(0)
    assert out.read().startswith("x no address is in two pods")


@pytest.mark.parametrize(
    ("text", "why"),
    [("a: [", "YAML"), (None, "no file that ends with"), ("kind: Pod\n---\n- x\n", "")],
)
def test_what_is_no_dump_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, why: str
) -> None:
    if text is not None:
        (tmp_path / "objects.yaml").write_text(text)
    code = main(["check", "--dump", str(tmp_path)])
    captured = capsys.readouterr()
    if why:
        assert code == 2
        assert why in captured.err
    else:
        # Objects that say nothing are a cluster without anything in it.
        assert code == 1
        assert "no object of the injector" in captured.out


@pytest.mark.parametrize(
    ("kubeconfig", "why"),
    [
        (None, "config can't be used"),
        ("clusters: []", "config can't be used"),
        ("{", "config can't be used"),
        (
            """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
""",
            "no answer from the API server at https://127.0.0.1:1",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kubeconfig: str | None,
    why: str,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = tmp_path / "config"
    if kubeconfig is not None:
        path.write_text(kubeconfig)
    assert main(["check", "--kubeconfig", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("multus-eni check: ")
    assert why in said


@pytest.mark.parametrize(("option", "value"), [("--wait", ["5m"]), ("--aws", []), ("--context", ["c"])])
def test_a_dump_is_no_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: list[str]
) -> None:
    assert main(["check", "--dump", str(dump(tmp_path)), option, *value]) == 2
    assert "leave out the options of a cluster" in capsys.readouterr().err


def test_a_pod_needs_its_namespace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--dump", str(tmp_path), "--pod", "web"]) == 2
    assert "--pod needs --namespace" in capsys.readouterr().err
