"""Command line arguments that several programs have, and their types."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.agent_settings import LogLevel


def add_kubeconfig(command: argparse.ArgumentParser) -> None:
    """Add `--kubeconfig` and `--context`, which choose a cluster as kubectl does."""
    command.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="kubeconfig of the cluster (KUBECONFIG, or ~/.kube/config)",
    )
    command.add_argument("--context", metavar="NAME", help="context in the kubeconfig (its current one)")


def add_log_level(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add `--log-level`; `more` is added to its help."""
    command.add_argument(
        "--log-level",
        # Of enums argparse would show the names of Python's.
        choices=[each.value for each in LogLevel],
        default=LogLevel.INFO.value,
        help=f"least important line that is logged{more} (%(default)s)",
    )


def port(text: str) -> int:
    """Read a port, 0 for any; raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
