"""Counts the work that a reader of foreign bytes does, so that a test can bound it without a clock."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection
from json.decoder import JSONDecoder
from types import FrameType
from typing import Any

_LINEAR_PATTERNS = frozenset(
    {
        # Of json's own decoder: spaces, from one place on.
        r"[ \t\n\r]*",
        # Both are bounded by their quantifiers, and are matched from the first character alone.
        r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        r"([0-9]{1,5})([smh])",
    }
)
_TEXTS = (str, bytes, bytearray)
_AT_ONE_PLACE = frozenset({"startswith", "endswith"})
"""Methods that look at one place of a text only."""


class RegexOnForeignBytes(AssertionError):
    """A pattern whose work is not known to be linear was matched against what somebody else sent."""


def count_work(do: Callable[[], object], linear: Collection[str] = ()) -> int:
    """Run it, and count its calls; one that goes over a text counts as many as the text has characters.

    Calls of C functions are weighed by the text that they are called on (`text.find`, `text.split`), the
    JSON decoder's by what it is given: its scanner looks at each character once. A regular expression can't
    be weighed from outside, so each one needs an entry above, or in
    `linear`: its pattern, after somebody has made sure that it never goes over a text more than once.
    """
    work = 0
    patterns: list[str] = []

    def profile(frame: FrameType, event: str, function: Any) -> None:
        nonlocal work
        if event == "call":
            work += 1 + _loaded(frame)
        elif event == "return":
            work += _scanned(frame, function)
        elif event == "c_call":
            owner = getattr(function, "__self__", None)
            at_one_place = getattr(function, "__name__", "") in _AT_ONE_PLACE
            work += 1 + (len(owner) if isinstance(owner, _TEXTS) and not at_one_place else 0)
            if isinstance(owner, re.Pattern):
                patterns.append(owner.pattern)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        do()
    finally:
        sys.setprofile(before)
    if unknown := set(patterns) - _LINEAR_PATTERNS - set(linear):
        raise RegexOnForeignBytes(unknown)
    return work


def _loaded(frame: FrameType) -> int:
    return len(frame.f_locals["s"]) if frame.f_code is json.loads.__code__ else 0


def _scanned(frame: FrameType, result: Any) -> int:
    """Return how many characters the JSON decoder has looked at; all that were left if it failed."""
    if frame.f_code is not JSONDecoder.raw_decode.__code__:
        return 0
    end = len(frame.f_locals["s"]) if result is None else result[1]
    return int(end - frame.f_locals["idx"])
