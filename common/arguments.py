"""Types of command line arguments that several programs have."""

from __future__ import annotations

import argparse


def port(text: str) -> int:
    """Read a port, 0 for any; raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
