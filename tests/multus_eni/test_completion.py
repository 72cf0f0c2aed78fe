"""Completion: by the parser, by bash itself, and by kubectl's protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multus_eni.cli import main

pytestmark = pytest.mark.pure

PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ch"], ["check"]),
        (["certs", ""], ["run", "status"]),
        (["check", "--pr"], ["--pre"]),
        (["check", "-o", ""], ["table", "short", "json"]),
        (["check", "--output=s"], ["--output=short"]),
        (["check", "-n", "my-apps", "--output", "j"], ["json"]),
        # Only the user knows.
        (["check", "-n", ""], []),
        (["explain", "--config", ""], []),
        (["explain", "--fail-on", "w"], ["warning"]),
        (["check", "--pre", "--wa"], ["--wait"]),
        (["completion", "z"], ["zsh"]),
        (["nonsense", ""], []),
    ],
)
def test_the_completion_offers_what_may_follow(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    assert main(["__complete", *words]) == 0
    found = capsys.readouterr().out.split("\n")[:-1]
    if words == ["nonsense", ""]:
        assert {"check", "explain", "serve"} <= set(found)
    else:
        assert found == expected


def test_bash_completes_by_the_script() -> None:
    script = f"""
source <({PROGRAMS}/multus-eni completion bash)
COMP_WORDS=(multus-eni check -o s) COMP_CWORD=3
_multus_eni
printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p multus-eni
"""
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=environment, timeout=600
    )
    assert done.stdout.splitlines()[0] == "short"
    assert "-F _multus_eni" in done.stdout


def test_kubectl_is_told_what_may_follow() -> None:
    program = PROGRAMS / "kubectl_complete-multus_eni"
    for words, expected in (
        (["check", "--output", "j"], "json\n:4\n"),
        (["explain", "-f", ""], ":0\n"),
    ):
        done = subprocess.run([program, *words], capture_output=True, text=True, check=True, timeout=600)
        assert done.stdout == expected


def test_the_usage_names_kubectl_where_it_runs_as_a_plugin() -> None:
    program = PROGRAMS / "kubectl-multus_eni"
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.startswith("usage: kubectl multus-eni ")
