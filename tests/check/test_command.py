"""`multus-eni check` as a command: a dump in, lines and an exit code out."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from check.model import DRY_RUN, KINDS, NODE_STATUS, Scope, Snapshot, Verdict
from check.results import PAGE
from check.run import CHECKS, exit_code, run_checks
from check.sources.aws import SOURCES
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
    assert "- a pod is injected, by a dry run: skipped: a dump does not show it" in out
    assert "\x1b" not in out


def test_an_error_is_shown_with_its_remedy_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "--dump", dump(tmp_path, "address-twice"), "-o", "short")
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "✗ no address is in two pods"
    assert lines[1].strip() == "10.10.1.10 is in apps/sip-1 and apps/sip-2: only one of them gets its traffic"
    assert lines[2].strip().startswith("$ kubectl edit ")
    assert lines[3].strip().startswith("remedy: ")
    assert lines[4].strip() == f"see {PAGE}#pods-duplicates"
    assert lines[5].startswith(f"{len(CHECKS)} checks: 1 errors, 0 warnings")


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
        (None, "config can't be used: there is no such file\n"),
        ("clusters: []", "config can't be used"),
        ("{", "config can't be used: while parsing a flow"),
        (
            """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
""",
            "no answer from the API server at https://127.0.0.1:1: Connection refused; does `kubectl",
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
    assert said.count("\n") == 1


def test_a_context_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = tmp_path / "config"
    path.write_text("""
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}, {name: b, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
""")
    assert main(["check", "--kubeconfig", str(path), "--context", "d"]) == 2
    assert capsys.readouterr().err.endswith("config can't be used: it has no context d, but b, c\n")


@pytest.mark.parametrize(("option", "value"), [("--wait", ["5m"]), ("--aws", []), ("--context", ["c"])])
def test_a_dump_is_no_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: list[str]
) -> None:
    assert main(["check", "--dump", str(dump(tmp_path)), option, *value]) == 2
    assert "leave out the options of a cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-n", "app"], "there is no namespace app"),
        (["-n", "other", "--pod", "sip-1"], "there is no pod sip-1 in the namespace other; apps has one"),
        (["-n", "apps", "--pod", "sip-3"], "there is no pod sip-3 in the namespace apps\n"),
        (["-n", "other", "--pod", "plain"], "pod other/plain has no annotation k8s.v1.cni.cncf.io/networks"),
        (["-n", "apps", "--pod", "ended"], "pod apps/ended has ended (Succeeded)"),
        (["-n", "apps", "--pod", "leaving"], "pod apps/leaving is being deleted"),
        (["-n", "apps", "--pod", "host"], "pod apps/host uses the host's network"),
    ],
)
def test_what_is_not_there_is_not_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    def pod(name: str, *, spec: object = None, phase: str = "Running", deleted: str | None = None) -> object:
        annotations = {"k8s.v1.cni.cncf.io/networks": "signalling"}
        metadata = {"namespace": "apps", "name": name, "annotations": annotations}
        if deleted:
            metadata["deletionTimestamp"] = deleted
        return {"kind": "Pod", "metadata": metadata, "spec": spec or {}, "status": {"phase": phase}}

    pods = [
        pod("ended", phase="Succeeded"),
        pod("leaving", deleted=NOW),
        pod("host", spec={"hostNetwork": True}),
    ]
    (dump(tmp_path) / "more.json").write_text(json.dumps({"kind": "List", "items": pods}))
    assert main(["check", "--dump", str(tmp_path), *arguments]) == 2
    captured = capsys.readouterr()
    assert why in captured.err
    assert captured.out == ""


def test_a_dump_without_namespaces_may_be_of_one_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dump(tmp_path) / "Namespace.yaml").unlink()
    assert check(capsys, "--dump", tmp_path, "-n", "apps", "--pod", "sip-1")[0] == 0


def test_where_nothing_can_be_read_nothing_is_in_order() -> None:
    missing = dict.fromkeys((*KINDS, *SOURCES, DRY_RUN, NODE_STATUS), "forbidden")
    results = run_checks(Snapshot(SECONDS, version="v1.36.0", missing=missing), Scope())
    assert {each.verdict for each in results if each.check.needs} == {Verdict.SKIPPED}
    assert exit_code(results) == 2


def test_a_finding_has_the_command_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = check(capsys, "--dump", dump(tmp_path, "agent-fails"), "-o", "short")
    assert out.splitlines()[2] == "      $ kubectl logs -n apps sip-2 -c multus-eni-agent --previous"


def test_a_command_for_several_problems_stands_below_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = check(capsys, "--dump", dump(tmp_path, "controller-not-ready"), "-o", "short")
    kinds = [line.strip().partition(" ")[0] for line in out.splitlines()]
    assert kinds == ["✗", "Deployment", "no", "$", "remedy:", "see", str(len(CHECKS))]


def test_a_name_in_a_dump_is_no_part_of_the_shells_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x; rm -rf ~ $(reboot) \x1b[2J"
    metadata = {"name": name, "labels": {"multus-eni.io/inject": "enabled"}}
    (dump(tmp_path) / "more.json").write_text(json.dumps({"kind": "Namespace", "metadata": metadata}))
    _, out = check(capsys, "--dump", tmp_path, "-o", "short")
    (command,) = [line.strip() for line in out.splitlines() if line.strip().startswith("$ kubectl label")]
    assert shlex.split(command)[4] == name.replace("\x1b", "\N{REPLACEMENT CHARACTER}")


def test_a_pod_needs_its_namespace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--dump", str(tmp_path), "--pod", "web"]) == 2
    assert "--pod needs --namespace" in capsys.readouterr().err
