"""The command line, as far as it needs no pod."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common import agent_settings
from common.agent_settings import (
    ENV_ALLOWED_CIDRS,
    ENV_BACKEND,
    ENV_CONTRACT,
    ENV_INTERFACES,
    ENV_TIMEOUT,
    AgentSettings,
    Backend,
    Mode,
)
from common.exit_codes import ExitCode
from common.version import VERSION
from ipagent import cli
from ipagent.commands import addresses
from ipagent.commands import cli as commands
from ipagent.direct import main

COMMANDS = ("addresses", "enis", "release")


def work(env: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run `ipagent init`; returns the exit code, the log's last message and the termination message."""
    log = tmp_path / "termination-log"
    log.touch()
    code = cli.run(["init"], {**env, cli.ENV_TERMINATION_LOG: str(log)})
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    return code, last["message"], log.read_text()


@pytest.mark.pure
def test_help_names_every_variable_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"], {}) == 0
    text = capsys.readouterr().out
    for name, value in vars(agent_settings).items():
        if name.startswith("ENV_") and name != "ENV_PREFIX":
            assert value in text, name
    for code in ExitCode:
        assert re.search(rf"\b{code.value}  ?\w", text), code
    for command in (*Mode, "started", *COMMANDS):
        assert f"\n  {command}" in text
    for name in (cli.ENV_STARTED_FILE, cli.ENV_TERMINATION_LOG):
        assert name in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.pure
def test_a_sidecar_that_has_started_once_has_started_whatever_became_of_its_next_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen = tmp_path / "started", list[bool]()
    monkeypatch.setattr(cli, "_run_mode", lambda *_, restarted: seen.append(restarted))
    env = {cli.ENV_STARTED_FILE: str(file)}
    cli.run(["sidecar"], env)
    file.touch()
    for _ in range(3):
        # It ends before it has written the file again.
        cli.run(["sidecar"], env)
        assert not file.exists()
    assert seen == [False, True, True, True]


@pytest.mark.pure
@pytest.mark.parametrize("command", [*COMMANDS, *Mode])
def test_each_commands_help_teaches_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--help"], {}) == 0
    text = capsys.readouterr().out
    examples = text.partition("examples:\n")[2]
    assert re.search(rf"kubectl (exec|debug) .* -- ipagent {command}", examples)
    assert "xit code" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.pure
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "--fast"], "--fast"),
        (["init", "--output", "json"], "--dry-run"),
        (["addresses", "--output", "yaml"], "yaml"),
        (["release", "10.10.1.80"], "--eni"),
        (["release", "--eni", "eni-0123456789abcdef0"], "ADDRESS"),
        (["release", "banana", "--eni", "eni-0123456789abcdef0"], "'banana' is not an IPv4 or IPv6 address"),
        (["release", "10.10.1.80", "--eni", "i-0123456789abcdef0"], "is not an id of an ENI"),
        (["release", "10.10.1.80", "--eni", "eni-0123456789abcdef0", "--ye"], "--ye"),
        (["release", *["10.10.1.80"] * 101, "--eni", "eni-0123456789abcdef0"], "at most 100"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments, {}) == ExitCode.USAGE
    said = capsys.readouterr()
    assert says in said.err + said.out


def test_no_mode_imports_what_only_the_commands_need() -> None:
    script = """
import sys
from ipagent import cli
# Without such an interface a mode ends before it needs AWS.
env = {"MULTUS_ENI_INTERFACES": "none-such", "MULTUS_ENI_STARTED_FILE": "/nonexistent/started"}
for mode in ("init", "sidecar"):
    print(cli.run([mode], env))
print(*sys.modules)
"""
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    first, second, modules = done.stdout.splitlines()
    assert first == second == str(int(ExitCode.NO_ENI))
    loaded = set(modules.split())
    assert "ipagent.direct.sidecar" in loaded
    assert not {name for name in loaded if name.startswith("ipagent.commands")}
    assert not loaded & {"argparse", "gettext", "botocore"}


@pytest.mark.pure
def test_the_version_is_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"], {}) == 0
    assert capsys.readouterr().out == f"ipagent {VERSION}\n"


@pytest.mark.pure
@pytest.mark.parametrize(
    "arguments",
    [
        ["nodes"],
        ["started", "x"],
        ["started", "--wait"],
        ["started", "--wait=soon"],
        ["started", "--wait=1", "2"],
        ["--fast"],
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments, {}) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert repr(" ".join(arguments)) in said
    assert "sidecar" in said
    assert ("did you mean node?" in said) is (arguments == ["nodes"])


@pytest.mark.pure
def test_without_arguments_the_help_is_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([], {}) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ipagent: no command is given\n")
    assert "Troubleshooting; only `release` changes anything" in captured.err


@pytest.mark.pure
def test_started_is_whether_the_file_is_there(tmp_path: Path) -> None:
    env = {cli.ENV_STARTED_FILE: str(tmp_path / "started")}
    assert cli.run(["started"], env) == 1
    (tmp_path / "started").touch()
    assert cli.run(["started"], env) == 0


@pytest.mark.parametrize("arguments", [["started"], ["started", "--wait=1"]])
def test_the_probe_imports_next_to_nothing(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "started").touch()
    env = {cli.ENV_STARTED_FILE: str(tmp_path / "started")}
    script = f"import sys; from ipagent import cli; cli.run({arguments}, {env}); print(*sys.modules)"
    # Without our environment: a measurement of coverage would import much.
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.split(".")[0] in {"common", "ipagent", "webhook", "certs"}}
    assert ours - {"ipagent.startup_probe"} == {
        "common",
        "common.agent_container",
        "common.agent_settings",
        "common.exit_codes",
        "ipagent",
        "ipagent.cli",
    }
    heavy = "argparse dataclasses inspect ipaddress json pathlib re socket typing"
    assert not loaded & set(heavy.split())


def test_asking_a_node_agent_imports_nothing_of_it() -> None:
    # `multus-eni check` has each node run it, in the agent's container.
    script = "import sys; from ipagent import cli; cli.run(['node', 'status'], {}); print(*sys.modules)"
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("ipagent.node.")} == {
        "ipagent.node.cli",
        "ipagent.node.observe",
        "ipagent.node.observe.status_command",
    }
    assert not loaded & {"dataclasses", "http.client", "prometheus_client", "ssl"}


@pytest.mark.parametrize("option", ["-o", "--output"])
def test_asking_a_node_agent_has_the_option_of_the_other_commands(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.run(["node", f"--record={tmp_path}", "status", option, "json"], {})
    assert code == ExitCode.NODE_AGENT_UNREACHABLE
    assert json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({ENV_TIMEOUT: "soon"}, ENV_TIMEOUT),
        ({ENV_CONTRACT: "99"}, "at least as new as the webhook"),
        ({ENV_BACKEND: "nodes"}, ENV_BACKEND),
        ({ENV_ALLOWED_CIDRS: "banana"}, ENV_ALLOWED_CIDRS),
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

    monkeypatch.setattr(main, "PodCloud", fail)
    code, logged, message = work({}, tmp_path, capsys)
    assert code == ExitCode.INTERNAL
    assert re.match(r"ZeroDivisionError at test_cli\.py:\d+: by zero\. ", message)
    assert logged == message


NONE_SUCH = {ENV_INTERFACES: "none-such"}
"""Nothing counts, so AWS is not needed."""


def test_a_fault_in_a_command_is_a_sentence_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(addresses, "inspect", fail)
    assert cli.run(["addresses"], NONE_SUCH) == ExitCode.INTERNAL
    said = capsys.readouterr()
    assert said.out == ""
    assert re.match(r"ipagent addresses: ZeroDivisionError at test_cli\.py:\d+: by zero\. ", said.err)
    assert cli.run(["addresses", "--output", "json"], NONE_SUCH) == ExitCode.INTERNAL
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exitCode"] == ExitCode.INTERNAL
    assert "report it" in error["remedy"]


def test_an_interrupted_command_prints_nothing_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(addresses, "inspect", interrupt)
    assert cli.run(["addresses"], NONE_SUCH) == commands.INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_is_no_traceback_and_no_success() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        script = "import sys; from ipagent import cli; cli.main()"
        command = [sys.executable, "-c", script, "addresses"]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, env=NONE_SUCH)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (commands.BROKEN_PIPE, b"")


@pytest.mark.pure
@pytest.mark.parametrize("mode", ["init", "sidecar"])
def test_a_dry_run_with_the_backend_node_points_to_the_agent_of_the_node(
    mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env = AgentSettings(backend=Backend.NODE).to_env()
    assert cli.run([mode, "--dry-run"], env) == ExitCode.USAGE
    assert "ipagent node status" in capsys.readouterr().err
