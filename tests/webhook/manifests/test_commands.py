"""`multus-eni inject` and `explain`, from the command line to exit codes.

Each file in tests/cases/manifests is one case; a new case is a new file. `input` is what the manifests say,
`options` what the command line adds, `settings` the settings file; `inject` and `explain` (as JSON) what must
come out, `missing` what `explain --only-missing` says (run where the case has it).
`UPDATE_CASES=1 pytest tests/webhook/manifests/test_commands.py`
writes the outcome into the files, to be read in the diff.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.agent_container import CONTAINER_NAME
from common.pod_keys import NETWORKS
from common.version import VERSION
from multus_eni.cli import main
from webhook.manifests.documents import MAX_INPUT, MAX_YAML

CASES = Path(__file__).parents[2] / "cases" / "manifests"
PROGRAM = str(Path(sys.executable).with_name("multus-eni"))
SETTINGS = "agent: {image: 'registry.example/ipagent:1.0'}"
DEPLOYMENT = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: apps}}
spec:
  template:
    metadata:
      annotations:
        {NETWORKS}: ipvlan
    spec:
      containers:
      - {{name: app, image: busybox}}
"""

Run = Callable[..., tuple[int, str, str]]


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command in a folder that has settings.yaml and the given files; returns code, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text(SETTINGS, encoding="utf-8")

    def run(*arguments: str, **files: str | bytes) -> tuple[int, str, str]:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / f"{name}.yaml").write_bytes(data)
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse's own
            code = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def outcome(case: dict[str, Any], run: Run) -> dict[str, Any]:
    files = {"input": case["input"]}
    if "settings" in case:
        files["settings"] = yaml.safe_dump(case["settings"])
    given = ("-f", "input.yaml", "--config", "settings.yaml", *case.get("options", ()))
    code, out, err = run("inject", *given, **files)
    # The one thing in a case that changes with each release.
    result: dict[str, Any] = {"inject": {"code": code, "out": out.replace(VERSION, "VERSION")}}
    if err:
        result["inject"]["err"] = err
    code, out, err = run("explain", *given, "--output", "json")
    result["explain"] = json.loads(out) if out else err
    assert code == (0 if out else 2)
    if "missing" in case:
        code, out, err = run("explain", *given, "--only-missing")
        result["missing"] = {"code": code, "out": out, "err": err}
    return result


@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_case(file: Path, run: Run) -> None:
    case = yaml.safe_load(file.read_text(encoding="utf-8"))
    result = outcome(case, run)
    if os.environ.get("UPDATE_CASES"):
        text = yaml.dump({**case, **result}, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
        file.write_text(text, encoding="utf-8")
    assert result == {key: case.get(key) for key in result}


def test_every_kind_with_a_pod_template_has_a_case() -> None:
    kinds = set()
    for file in CASES.glob("*.yaml"):
        explained = yaml.safe_load(file.read_text(encoding="utf-8"))["explain"]
        # What is found by shape says where.
        kinds |= {found["kind"] for found in explained if isinstance(found, dict) and "template" not in found}
    assert kinds == {
        "CronJob", "DaemonSet", "Deployment", "Job", "Pod", "PodTemplate", "ReplicaSet",
        "ReplicationController", "StatefulSet",
    }  # fmt: skip


def program(*arguments: str | Path, stdin: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PROGRAM, *arguments],
        check=False,
        capture_output=True,
        input=stdin,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_large_output_reaches_the_pipe_whole(tmp_path: Path, unbuffered: str) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    stream = (DEPLOYMENT + "---\n" + "data: {x: " + "y" * 3_000_000 + "}\n").encode()
    done = program("inject", "-f", "-", "--config", settings, stdin=stream, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"---\n" + stream.partition(b"---\n")[2])
    assert CONTAINER_NAME.encode() in done.stdout


def test_a_reader_that_has_had_enough_is_no_error_of_ours(tmp_path: Path) -> None:
    stream = tmp_path / "large.yaml"
    stream.write_text("a: " + "x" * 3_000_000, encoding="utf-8")
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    with subprocess.Popen(
        [PROGRAM, "inject", "-f", stream, "--config", settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_an_output_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [PROGRAM, "inject", "-f", "-", "--config", settings],
            check=False, stdout=full, stderr=subprocess.PIPE, input=b"a: 1\n", timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        b"multus-eni inject: cannot write: No space left on device\n",
    )


def test_closed_standard_files_are_said() -> None:
    script = f"{PROGRAM} explain -f - <&-; {PROGRAM} explain -f /dev/fd/3 3<<<'a: 1' >&-"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines() == [
        "multus-eni explain: -: cannot be read: Bad file descriptor",
        "multus-eni explain: cannot write: Bad file descriptor",
    ]


@pytest.mark.parametrize("options", [("inject", "--config", "settings.yaml"), ("explain",)])
@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ("a: 1\n---\nb: [1\n", "document 2, line 4: not YAML: "),
        ("a: *b\n", "document 1, line 1: the alias *b has no anchor before it"),
        ("a: &a [*a]\n", "document 1, line 1: the anchor &a contains itself"),
        ("- " * 300 + "a\n", "document 1, line 1: nested deeper than 200"),
        ("? [a]\n: b\n", "keys are strings"),
        ("<<: 1\n", "<< needs a mapping"),
        ("a: 1\nb: \x07\n", "document 1, line 2: not YAML: control characters are not allowed"),
        ('{"a": 1}\n{"b": [1, ]}\n', "document 2, line 2: not JSON: "),
        ('{"a": 1}\n{"b": NaN}\n', "document 2, line 2: not JSON: NaN is not a JSON value"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ('{"a": 1}' + '{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        (b"a: b\nc: \xff\n", "the input is not UTF-8 (at line 1 or after it)"),
        ("a: b\n".encode("utf-16"), "the input is not UTF-8 but UTF-16"),
        ("apiVersion: v1\nkind: Pod\nmetadata: x\n", "document 1, line 1: Expected `object"),
        ('{"kind": "List", "items": [' * 9 + "]}" * 9, "lists in lists, more than 8 deep"),
    ],
)  # fmt: skip
def test_input_that_can_not_be_read_is_said_with_its_place(
    run: Run, options: tuple[str, ...], stream: str | bytes, said: str
) -> None:
    code, out, err = run(*options, "-f", "input.yaml", input=stream)
    assert (code, out) == (2, "")
    assert err.startswith(f"multus-eni {options[0]}: input.yaml: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_what_aliases_expand_to_is_bounded(run: Run) -> None:
    lists = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
    merges = "\n".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12))
    for first, bomb in (("[lol]", lists), ("{k: lol}", merges)):
        code, out, err = run("explain", "-f", "input.yaml", input=f"a0: &a0 {first}\n{bomb}\n")
        assert (code, out) == (2, "")
        assert "its aliases expand to more than 64 MiB" in err


def test_input_is_bounded(run: Run, tmp_path: Path) -> None:
    for size, start, said in (
        (MAX_INPUT + 1, b'{"a": 1}', "larger than 256 MiB: split it"),
        (MAX_YAML + 1, b"a: 1\n#", "more than 64 MiB of YAML: give it as JSON"),
    ):
        with (tmp_path / "large.yaml").open("wb") as stream:
            stream.write(start)
            stream.truncate(size)
        code, out, err = run("explain", "-f", "large.yaml")
        assert (code, out) == (2, "")
        assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inject", "-f", "input.yaml"), "required: --config"),
        (("inject", "--config", "settings.yaml"), "required: -f/--filename"),
        (("inject", "-f", "input.yaml", "--config", "none.yaml"), "none.yaml: cannot be read: No such file"),
        (
            ("inject", "-f", "none.yaml", "--config", "settings.yaml"),
            "none.yaml: cannot be read: No such file",
        ),
        (("explain", "-f", "."), ".: is a folder: give its files on standard input"),
        (("explain", "-f", "input.yaml", "--config", "input.yaml"), "input.yaml: "),
        (
            ("explain", "-f", "input.yaml", "--namespace-injection", "on"),
            "invalid choice: 'on' (choose from 'enabled', 'disabled', 'unset')",
        ),
        (("explain", "-f", "input.yaml", "--namespace-mode", "x"), "invalid choice: 'x'"),
        (("explain", "-f", "input.yaml", "--output", "yaml"), "invalid choice: 'yaml'"),
        (("explain", "-f", "empty.yaml"), "empty.yaml: no manifest in it"),
    ],
)
def test_a_contradictory_command_line_is_refused_with_a_sentence(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(*arguments, input="a: 1\n", empty="# nothing\n---\n")
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("command", "example"),
    [
        (
            "inject",
            "helm template web ./chart | multus-eni inject -f - --config settings.yaml | kubectl apply",
        ),
        ("explain", "kubectl get ns,pods -A -o json | multus-eni explain -f - --only-missing"),
    ],
)
def test_help_teaches_by_example(run: Run, command: str, example: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert example in out


def test_an_input_without_workloads_is_said_to_be_one(run: Run) -> None:
    network = "{apiVersion: k8s.cni.cncf.io/v1, kind: NetworkAttachmentDefinition, metadata: {name: a}}"
    code, out, err = run("explain", "-f", "input.yaml", input=network)
    assert (code, out) == (0, "")
    assert err == ("multus-eni explain: there is no workload in the input: nothing that has a pod template\n")
    assert run("explain", "-f", "input.yaml", "--only-missing", input=network)[2].count("\n") == 1


def test_explain_compares_images_only_with_settings(run: Run) -> None:
    pod = yaml.safe_load(DEPLOYMENT)["spec"]["template"] | {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "web"
    _, injected, _ = run("inject", "-f", "input.yaml", "--config", "settings.yaml", input=yaml.safe_dump(pod))
    arguments = ("explain", "--only-missing", "-f", "input.yaml")
    newer = {"newer": SETTINGS.replace("1.0", "2.0"), "input": injected}
    assert run(*arguments, **newer)[0] == 0
    assert run(*arguments, "--config", "settings.yaml")[0] == 0
    code, out, _ = run(*arguments, "--config", "newer.yaml")
    assert code == 3
    assert "its image is registry.example/ipagent:1.0, the injector gives registry.example/ipagent:2.0" in out


def test_the_terminal_is_not_given_what_it_would_obey(run: Run) -> None:
    stream = DEPLOYMENT.replace("name: web", r'name: "\e[2Jweb\a"')
    _, out, _ = run("explain", "-f", "input.yaml", input=stream)
    assert out.startswith("Deployment apps/\ufffd[2Jweb\ufffd: inject_init: ")
    wrong = stream.replace("ipvlan", "ipvlan\n        multus-eni.io/mode: x")
    _, _, err = run("inject", "-f", "input.yaml", "--config", "settings.yaml", input=wrong)
    assert "refused: Deployment apps/\ufffd[2Jweb\ufffd (document 1, line 1): multus-eni.io/mode: 'x'" in err


REFUSED = DEPLOYMENT.replace(f"{NETWORKS}: ipvlan", f"{NETWORKS}: ipvlan\n        multus-eni.io/mode: sidcar")
WARNED = DEPLOYMENT.replace(f"{NETWORKS}: ipvlan", f"{NETWORKS}: 'ipvlan,,'")
WITHOUT = DEPLOYMENT.replace(f"{NETWORKS}: ipvlan", "other: key")


@pytest.mark.parametrize(
    ("manifest", "options", "code"),
    [
        (DEPLOYMENT, ["--fail-on=refused", "--fail-on=warning", "--fail-on=not-injected"], 0),
        (REFUSED, [], 0),
        (REFUSED, ["--fail-on=refused"], 3),
        (REFUSED, ["--fail-on=not-injected"], 3),
        (WARNED, ["--fail-on=refused"], 0),
        (WARNED, ["--fail-on=warning"], 3),
        (DEPLOYMENT, ["--fail-on=not-injected", "--namespace-injection=unset"], 3),
        (DEPLOYMENT, ["--fail-on=warning", "--namespace-injection=unset"], 0),
        (WITHOUT, ["--fail-on=not-injected"], 0),
    ],
)
def test_explain_fails_on_what_a_pipeline_asks_for(
    run: Run, manifest: str, options: list[str], code: int
) -> None:
    found, out, _ = run("explain", "-f", "input.yaml", *options, input=manifest)
    assert found == code
    assert out.startswith("Deployment apps/web: ")


@pytest.mark.parametrize("arguments", [(), ("-f", "input.yaml", "deploy/web")])
def test_explain_takes_either_a_file_or_workloads(run: Run, arguments: tuple[str, ...]) -> None:
    code, _, err = run("explain", *arguments, input=DEPLOYMENT)
    assert code == 2
    assert "either -f FILE or workloads such as deploy/web" in err


def test_a_status_of_another_type_says_not_that_a_pod_has_ended(run: Run) -> None:
    pod = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "annotations": {NETWORKS: "ipvlan"}},
            "spec": {"containers": [{"name": "app", "image": "busybox"}]},
            "status": [[]],
        }
    )
    code, out, _ = run("explain", "--only-missing", "-f", "input.yaml", input=pod)
    assert code == 3
    assert out.startswith("Pod default/web")
