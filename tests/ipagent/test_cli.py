"""The command line, as far as it needs no pod."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from multus_eni import contract
from multus_eni.contract import ExitCode
from multus_eni.ipagent import cli, process
from multus_eni.version import VERSION


def work(env: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run `ipagent init`; gives the exit code, the log's last message and the termination message."""
    log = tmp_path / "termination-log"
    log.touch()
    code = cli.run(["init"], {**env, cli.ENV_TERMINATION_LOG: str(log)})
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    return code, last["message"], log.read_text()


@pytest.mark.pure
def test_help_names_every_variable_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"], {}) == 0
    text = capsys.readouterr().out
    for name, value in vars(contract).items():
        if name.startswith("ENV_") and name != "ENV_PREFIX":
            assert value in text, name
    for code in ExitCode:
        assert re.search(rf"\b{code.value}  ?\w", text), code
    for mode in contract.Mode:
        assert f"\n  {mode}" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.pure
def test_the_version_is_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"], {}) == 0
    assert capsys.readouterr().out == f"ipagent {VERSION}\n"


@pytest.mark.pure
@pytest.mark.parametrize("arguments", [[], ["node"], ["init", "--fast"], ["started", "x"]])
def test_wrong_arguments_are_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments, {}) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert repr(" ".join(arguments) or "nothing") in said
    assert "sidecar" in said


@pytest.mark.pure
def test_started_is_whether_the_file_is_there(tmp_path: Path) -> None:
    env = {cli.ENV_STARTED_FILE: str(tmp_path / "started")}
    assert cli.run(["started"], env) == 1
    (tmp_path / "started").touch()
    assert cli.run(["started"], env) == 0


def test_the_probe_imports_next_to_nothing() -> None:
    script = "import sys; from multus_eni.ipagent import cli; cli.run(['started'], {}); print(*sys.modules)"
    # Without our environment: a measurement of coverage would import much.
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("multus_eni")} == {
        "multus_eni",
        "multus_eni.contract",
        "multus_eni.ipagent",
        "multus_eni.ipagent.cli",
    }
    heavy = "argparse dataclasses inspect ipaddress json pathlib re socket typing"
    assert not loaded & set(heavy.split())


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({contract.ENV_TIMEOUT: "soon"}, contract.ENV_TIMEOUT),
        ({contract.ENV_CONTRACT: "99"}, "at least as new as the webhook"),
        ({contract.ENV_BACKEND: "node"}, contract.ENV_BACKEND),
        ({contract.ENV_ALLOWED_CIDRS: "banana"}, contract.ENV_ALLOWED_CIDRS),
    ],
)
def test_wrong_settings_are_named_in_the_log_and_in_the_termination_message(
    env: dict[str, str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, logged, message = work(env, tmp_path, capsys)
    assert code == ExitCode.USAGE
    assert says in message
    assert "--help" in message
    assert logged == message


def test_a_fault_of_the_agent_is_a_sentence_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(process, "Direct", fail)
    code, logged, message = work({}, tmp_path, capsys)
    assert code == ExitCode.INTERNAL
    assert re.match(r"ZeroDivisionError at test_cli\.py:\d+: by zero\. ", message)
    assert logged == message
