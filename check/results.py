"""Results: a check, and its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from check.cluster import Cluster
from check.model import Verdict
from common.shorten import shortened

PAGE = "https://github.com/multus-eni/multus-eni-injector/blob/main/docs/check.md"
"""The page has a section for each check. On a laptop there is no folder docs/."""
LISTED = 3
"""Objects of one problem that are named; the rest is counted."""
MAX_MESSAGE = 600
"""Characters of a message of somebody else that are shown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence, and the command that solves the problem or shows more of it, empty where none does."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question about a cluster.

    `run` yields each problem, or the sentence alone, and raises NotApplicable. `verdict` is what a problem
    amounts to. `needs` are the kinds and sources without which it is skipped. `pre`: it also makes sense
    before the injector is installed.
    """

    id: str
    title: str
    remedy: str
    run: Callable[[Cluster], Iterable[str | Problem]]
    verdict: Verdict = Verdict.ERROR
    needs: tuple[str, ...] = ()
    pre: bool = False

    @property
    def category(self) -> str:
        """The first word of its id."""
        return self.id.partition("-")[0]

    @property
    def anchor(self) -> str:
        """Where the documentation explains it."""
        return f"{PAGE}#{self.id}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check has found: sentences, one a problem; or, of a skipped one, why.

    `commands` are those of the problems, by their sentences.
    """

    check: Check
    verdict: Verdict
    details: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)


def listed(names: Iterable[str], most: int = LISTED) -> str:
    """Name the first of many, and count the rest."""
    found = sorted(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def one_line(text: str) -> str:
    """Show a message of somebody else in one line, and no more of it than can be read."""
    return shortened(" ".join(text.split()), MAX_MESSAGE)
