"""Counts the work that a reader of foreign bytes does, so that a test can bound it without a clock."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from json.decoder import JSONDecoder
from types import CodeType, FrameType
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


class RegexOnForeignBytes(AssertionError):
    """A pattern whose work is not known to be linear was matched against what somebody else sent."""


def count_work(do: Callable[[], object]) -> int:
    """Run it, and count its calls; one that goes over a text counts as many as the text has characters.

    Calls of C functions are weighed by the text that they are called on (`text.find`, `text.split`), the
    JSON decoder's by what it is given: its scanner looks at each character once. A regular expression can't
    be weighed from outside, so each one needs an entry above.
    """
    work = 0
    patterns: list[str] = []

    def profile(frame: FrameType, event: str, function: Any) -> None:
        nonlocal work
        if event == "call":
            work += 1 + _decoded(frame.f_code, frame)
        elif event == "c_call":
            owner = getattr(function, "__self__", None)
            work += 1 + (len(owner) if isinstance(owner, _TEXTS) else 0)
            if isinstance(owner, re.Pattern):
                patterns.append(owner.pattern)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        do()
    finally:
        sys.setprofile(before)
    if unknown := set(patterns) - _LINEAR_PATTERNS:
        raise RegexOnForeignBytes(unknown)
    return work


def _decoded(code: CodeType, frame: FrameType) -> int:
    if code is JSONDecoder.raw_decode.__code__:
        return len(frame.f_locals["s"])
    if code is json.loads.__code__:
        return len(frame.f_locals["s"])
    return 0
