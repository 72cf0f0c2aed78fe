"""docs/agent.md has every error, exit code, log event and message that the code has, and no stale ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from ipagent.commands.cli import BROKEN_PIPE, INTERRUPTED
from tests.ipagent import ec2_error_table

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
CODE = (*(ROOT / "ipagent").rglob("*.py"), ROOT / "common" / "kube" / "informer.py")
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(CODE)}
DOCS = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
WORDS = " ".join(DOCS.replace("`", "").split())
LEAST = 12
"""Characters of a message that tell it from others."""


def nodes(kind: type[ast.AST]) -> Iterator[ast.AST]:
    for tree in TREES.values():
        yield from (node for node in ast.walk(tree) if isinstance(node, kind))


def errors() -> set[str]:
    """Return AgentError and every class below it."""
    found = {"AgentError"}
    while True:
        more = {
            node.name
            for node in nodes(ast.ClassDef)
            if isinstance(node, ast.ClassDef)
            and any(isinstance(base, ast.Name) and base.id in found for base in node.bases)
        }
        if more <= found:
            return found
        found |= more


def events() -> set[str]:
    """Return the events of all log calls; where one is a parameter, those of the calls that hand it in."""
    found: set[str] = set()
    for tree in TREES.values():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                if not call.args or not any(keyword.arg == "message" for keyword in call.keywords):
                    continue
                if isinstance(call.func, ast.Name) and call.func.id == "replace":
                    continue
                match call.args[0]:
                    case ast.Constant(value=str(event)):
                        found.add(event)
                    case ast.Name(id=name):
                        found |= handed_in(tree, function, name)
    return found


def handed_in(tree: ast.AST, function: ast.FunctionDef, parameter: str) -> set[str]:
    position = [argument.arg for argument in function.args.args if argument.arg != "self"].index(parameter)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    found = {
        call.args[position].value  # type: ignore[attr-defined] # a constant, or this fails
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == function.name
    }
    assert found, f"nobody calls {function.name}"
    return found


def literals(node: ast.expr) -> list[str]:
    """Return the fixed parts of a text."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [str(part.value) for part in values if isinstance(part, ast.Constant)]
    return []


def messages() -> dict[str, str]:
    """Return the longest fixed part of what each error says, with its place."""
    kinds = errors() | {"Unplaced", "Failure"}
    found = {}
    for path, tree in TREES.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id in kinds and call.args:
                said = call.args[1 if call.func.id in ("Unplaced", "Failure") else 0]
                longest = max((part.strip(" .:;") for part in literals(said)), key=len, default="")
                if len(longest) >= LEAST:
                    found[longest] = f"{path.name}:{call.lineno}"
    return found


def table(heading: str, page: str = DOCS) -> list[list[str]]:
    """Return the rows of the first table below a heading."""
    _, _, rest = page.partition(f"\n{heading}\n")
    lines = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert lines, heading
    rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in lines[0].splitlines()]
    return rows[2:]


def test_every_error_stands_beside_its_exit_code() -> None:
    listed = {name for row in table("## Exit codes") for name in re.findall(r"`(\w+)`", row[1])}
    assert listed == errors()


def test_every_exit_code_has_its_row() -> None:
    cells = [row[0].strip("| ") for row in table("## Exit codes")]
    anchored = [re.findall(r'<a id="exit-code-(\d+)"></a>', cell) for cell in cells]
    assert anchored == [[code.strip() for code in cell.rpartition(">")[2].split(",")] for cell in cells]
    listed = {int(code) for codes in anchored for code in codes}
    assert listed == {*map(int, ExitCode), INTERRUPTED, BROKEN_PIPE, 143}


def test_troubleshooting_names_exit_codes_and_messages_that_are_there() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = table("## Init:0/…, Init:Error, Init:CrashLoopBackOff", page)
    assert {int(row[0].strip("| ")) for row in rows} <= set(map(int, ExitCode))
    said = "\n".join(str(node.value) for node in nodes(ast.Constant) if isinstance(node, ast.Constant))
    parts = {
        part.strip()
        for row in rows
        for message in re.findall(r"`([^`]+)`", row[1])
        for part in message.split("…")
    }
    assert {part for part in parts if part not in said and part not in WORDS} == set()


def test_every_log_event_has_its_row() -> None:
    listed = {event for row in table("## Log events") for event in re.findall(r"`([\w-]+)`", row[0])}
    assert listed == events()


@pytest.mark.parametrize("message", sorted(messages()))
def test_every_message_stands_in_the_tables(message: str) -> None:
    assert " ".join(message.split()) in WORDS, f"{messages()[message]}: docs/agent.md lacks {message!r}"


def test_the_table_of_ec2s_codes_is_the_code_s() -> None:
    _, _, rest = DOCS.partition(ec2_error_table.BEGIN)
    shown, _, _ = rest.partition(ec2_error_table.END)
    assert shown == ec2_error_table.render(), "run: python -m tests.ipagent.ec2_error_table"


@pytest.mark.parametrize(
    "heading", ["### Interfaces and addresses", "### ENIs and IMDS", "### Settings and commands"]
)
def test_no_message_of_the_tables_is_stale(heading: str) -> None:
    source = "".join(
        file.read_text(encoding="utf-8") for file in [*TREES, ROOT / "common" / "agent_settings.py"]
    )
    # Strings that are split over lines, as one.
    joined = re.sub(r'"\s*\n\s*f?"', "", source)
    for row in table(heading):
        for message in row[0].strip("| ").split("<br>"):
            longest = max((part.strip(" :;'.") for part in re.split("[…`]", message)), key=len)
            assert longest in joined, f"{message}: {longest!r} is in no message"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", DOCS))))
def test_links_lead_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    if path:
        assert (ROOT / "docs" / path).exists()
    elif anchor:
        headings = re.findall(r"^#+ (.+)$", DOCS, re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs
