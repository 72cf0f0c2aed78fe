"""Command line arguments that several programs have, and their types."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_kubeconfig(command: argparse.ArgumentParser) -> None:
    """Add `--kubeconfig` and `--context`, which choose a cluster as kubectl does."""
    command.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="kubeconfig of the cluster (KUBECONFIG, or ~/.kube/config)",
    )
    command.add_argument("--context", metavar="NAME", help="context in the kubeconfig (its current one)")


def port(text: str) -> int:
    """Read a port, 0 for any; raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
