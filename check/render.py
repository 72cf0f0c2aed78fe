"""Write results for people and programs. Pure: text out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum

from check.model import Verdict
from check.results import Result
from webhook.manifests.explain import printable


class Form(StrEnum):
    """How results are written: all with headings, only what is wrong, or for programs."""

    TABLE = "table"
    SHORT = "short"
    JSON = "json"


_MARKS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.ERROR: "✗", Verdict.SKIPPED: "-"}
_PLAIN = {Verdict.OK: "+", Verdict.WARNING: "!", Verdict.ERROR: "x", Verdict.SKIPPED: "-"}
_COLOURS = {Verdict.OK: "32", Verdict.WARNING: "33", Verdict.ERROR: "31", Verdict.SKIPPED: "2"}
"""SGR parameters (ECMA-48, section 8.3.117): green, yellow, red, faint."""
_INDENT = "    "


def render(results: Iterable[Result], form: Form, *, colour: bool = False, unicode: bool = True) -> str:
    """Write results; `unicode` tells whether the output can have marks beyond ASCII."""
    found = tuple(results)
    if form is Form.JSON:
        return json.dumps(as_document(found), indent=2) + "\n"
    lines: list[str] = []
    category = ""
    for result in found:
        wrong = result.verdict in (Verdict.ERROR, Verdict.WARNING)
        if form is Form.SHORT and not wrong:
            continue
        if form is Form.TABLE and result.check.category != category:
            category = result.check.category
            lines += [*([""] if lines else []), category, "-" * len(category)]
        lines += _lines(result, colour=colour, unicode=unicode)
    return "".join(f"{line}\n" for line in (*lines, *([""] if form is Form.TABLE else []), summary(found)))


def summary(results: tuple[Result, ...]) -> str:
    """Count the results in one sentence."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    return (
        f"{len(results)} checks: {counts[Verdict.ERROR]} errors, {counts[Verdict.WARNING]} warnings, "
        f"{counts[Verdict.SKIPPED]} skipped"
    )


def as_document(results: Iterable[Result]) -> list[dict[str, object]]:
    """Return results as the objects of `-o json`."""
    return [
        {
            "id": result.check.id,
            "category": result.check.category,
            "title": result.check.title,
            "verdict": result.verdict.value,
            "details": list(result.details),
            "commands": list(dict.fromkeys(filter(None, map(result.commands.get, result.details)))),
            "remedy": result.check.remedy if result.verdict in (Verdict.ERROR, Verdict.WARNING) else None,
            "documentation": result.check.anchor,
        }
        for result in results
    ]


def _lines(result: Result, *, colour: bool, unicode: bool) -> Iterator[str]:
    mark = (_MARKS if unicode else _PLAIN)[result.verdict]
    if colour:
        mark = f"\x1b[{_COLOURS[result.verdict]}m{mark}\x1b[0m"
    if result.verdict is Verdict.SKIPPED:
        yield f"{mark} {result.check.title}: skipped: {printable(result.details[0])}"
        return
    yield f"{mark} {result.check.title}"
    commands = [result.commands.get(detail, "") for detail in result.details]
    for detail, command, following in zip(result.details, commands, [*commands[1:], ""], strict=False):
        yield f"{_INDENT}{printable(detail)}"
        # One for several problems stands below the last of them.
        if command and command != following:
            yield f"{_INDENT}  $ {printable(command)}"
    if result.details:
        yield f"{_INDENT}remedy: {result.check.remedy}"
        yield f"{_INDENT}see {result.check.anchor}"
