"""The table of EC2's error codes in docs/agent.md: `python -m tests.ipagent.ec2_error_table` writes it."""

from __future__ import annotations

from pathlib import Path

from ipagent.assign.ec2_error_codes import CODE_GROUPS, HEALING, MESSAGE_RULES, RETRIED, Failure, Fault
from ipagent.assign.errors import error_of

PAGE = Path(__file__).parents[2] / "docs" / "agent.md"
BEGIN = "<!-- ec2-error-codes -->\n"
END = "<!-- /ec2-error-codes -->\n"


def render() -> str:
    """Return the table: a row for each group of codes, those told apart by their message first."""
    rows = ["| code | class | exit code | tried again | remedy |", "|---|---|---|---|---|"]
    for rule in MESSAGE_RULES:
        codes = ", ".join(f"`{code}`" for code in rule.codes)
        rows.append(_row(f'{codes} "… {rule.part} …"', rule.fault, ""))
    rows += [
        _row(", ".join(f"`{code}`" for code in group.codes), group.fault, group.remedy)
        for group in CODE_GROUPS
    ]
    return "\n".join(rows) + "\n"


def _row(codes: str, fault: Fault, remedy: str) -> str:
    error = error_of(Failure(fault, "", remedy=remedy))
    kind = fault.name.lower().replace("_", " ")
    return f"| {codes} | {kind} | {int(error.exit_code)} | {_repeated(fault)} | {error.remedy} |"


def _repeated(fault: Fault) -> str:
    if fault in RETRIED:
        return "yes"
    return "for life" if fault in HEALING else "no"


def main() -> None:
    """Write the table into the page."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.name} lacks the lines that enclose the table")
    PAGE.write_text(before + BEGIN + render() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
