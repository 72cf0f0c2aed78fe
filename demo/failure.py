"""How the demo fails."""

from __future__ import annotations


class DemoError(Exception):
    """A step failed; `log` is the end of the log that tells why, `remedy` what to do, where it is known."""

    def __init__(self, what: str, *, log: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.log = log
        self.remedy = remedy
