"""Commands in all pages: bash reads them, and those of the AWS CLI have names and options that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.examples import aws_cli
from tests.examples.pages import ROOT, blocks, typed
from tests.examples.test_pages import PAGES as RUN

READ = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("charts/*/*.md")])


@pytest.mark.parametrize("page", [page for page in READ if typed(page)], ids=lambda page: page.stem)
def test_bash_reads_what_a_page_has_its_reader_type(page: Path) -> None:
    separate = "\n".join(f"f{number}() {{\n{text}\n}}" for number, text in enumerate(typed(page)))
    done = subprocess.run(["bash", "-n"], input=separate, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


MENTIONED = re.compile(r"(?:^|[\s`(])aws ((?:[^`\n|>;)]|\\\n)+)", re.MULTILINE)
"""A command in a block or in a sentence, up to the end of its line, its pipe or its quotation."""


def mentioned() -> dict[str, list[str]]:
    """Return the commands of the AWS CLI in all pages and examples, by themselves."""
    found: dict[str, list[str]] = {}
    for path in [*READ, *ROOT.glob("examples/**/*.*")]:
        text = path.read_text(encoding="utf-8")
        for block in blocks(path, "sh") if path in RUN else ():
            text = text.replace(block, "")  # they are run
        # A comment's command goes on behind the next comment sign, that of a sentence on the next line.
        text = re.sub(r"\\\n#? +", " ", text)
        text = re.sub(r"(`aws [^`]*)\n +([^`]*`)", r"\1 \2", text)
        for command in MENTIONED.findall(text):
            try:
                words = shlex.split(command, comments=True)
            except ValueError:  # a quotation that goes on behind a pipe or a parenthesis
                words = command.split()
            words[-1] = words[-1].rstrip(".")
            if len(words) > 1 and re.fullmatch(r"[a-z0-9]+", words[0]) and "-" in words[1]:
                found[" ".join(words)] = words
    return found


COMMANDS = mentioned()


def test_the_pages_mention_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_a_page_mentions_exists(command: str) -> None:
    aws_cli.check([word for word in COMMANDS[command] if word != "…"], complete=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["iam", "create-role", "--role-name", "a"],
        ["iam", "create-rol", "--role-name", "a", "--assume-role-policy-document", "{}"],
        ["iam", "delete-role", "--name", "a"],
        ["cloudformation", "wait", "stack-deleted", "--stack-name", "a"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_is_seen(arguments: list[str]) -> None:
    with pytest.raises(AssertionError):
        aws_cli.check(arguments)
