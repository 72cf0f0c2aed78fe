"""Counts the work that a reader of foreign bytes does, so that a test can bound it without a clock."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection
from cProfile import Profile
from enum import Enum, auto
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
_LOADS = json.loads.__code__
_RAW_DECODE = JSONDecoder.raw_decode.__code__
_AT_ONE_PLACE = frozenset({"startswith", "endswith"})
"""Methods that look at one place of a text only."""


class _Kind(Enum):
    """What a method of C is called on."""

    TEXT = auto()
    PATTERN = auto()
    OTHER = auto()


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
    kinds: dict[type, _Kind] = {}

    # It is called twice for each call that is counted, so it calls as little as it can itself.
    def profile(frame: FrameType, event: str, function: Any) -> None:
        nonlocal work
        if event == "c_call":
            work += 1
            owner: Any = getattr(function, "__self__", None)
            kind = kinds.get(type(owner)) or kinds.setdefault(type(owner), _kind(owner))
            if kind is _Kind.OTHER:
                return
            if kind is _Kind.PATTERN:
                patterns.append(owner.pattern)
            elif function.__name__ not in _AT_ONE_PLACE:
                work += len(owner)
        elif event == "call":
            work += 1
            if frame.f_code is _LOADS:
                work += len(frame.f_locals["s"])
        elif event == "return" and frame.f_code is _RAW_DECODE:
            work += _scanned(frame, function)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        do()
    finally:
        sys.setprofile(before)
    if unknown := set(patterns) - _LINEAR_PATTERNS - set(linear):
        raise RegexOnForeignBytes(unknown)
    return work


def count_calls(do: Callable[[], object]) -> int:
    """Run it, and count its calls, those of C functions too: for work on objects, whose texts are short.

    It takes a third of the time of `count_work`.
    """
    profile = Profile()
    profile.runcall(do)
    return sum(entry.callcount for entry in profile.getstats())


def _kind(owner: object) -> _Kind:
    if isinstance(owner, re.Pattern):
        return _Kind.PATTERN
    return _Kind.TEXT if isinstance(owner, str | bytes | bytearray) else _Kind.OTHER


def _scanned(frame: FrameType, result: Any) -> int:
    """Return how many characters the JSON decoder has looked at; all that were left if it failed."""
    end = len(frame.f_locals["s"]) if result is None else result[1]
    return int(end - frame.f_locals["idx"])
