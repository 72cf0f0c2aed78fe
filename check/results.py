"""Results: a check, and its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from check.model import Verdict
from check.views import Cluster

PAGE = "https://github.com/multus-eni/multus-eni-injector/blob/main/docs/check.md"
"""The page has a section for each check. On a laptop there is no folder docs/."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question about a cluster.

    `run` yields a sentence for each problem, and raises NotApplicable. `verdict` is what a problem amounts
    to. `needs` are the kinds and sources without which it is skipped. `pre`: it also makes sense before the
    injector is installed.
    """

    id: str
    title: str
    remedy: str
    run: Callable[[Cluster], Iterable[str]]
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
    """What a check has found: sentences, one a problem; or, of a skipped one, why."""

    check: Check
    verdict: Verdict
    details: tuple[str, ...] = ()
