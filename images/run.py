"""Running the programs that build and push, in the project's folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


class CommandError(Exception):
    """A program is missing or failed; the text says which and what it said."""


class ProgramMissingError(CommandError):
    """A program is not installed."""


def run(argv: Sequence[str], *, quiet: bool = False) -> None:
    """Run a program; what it says goes where our own output goes. Raises CommandError.

    `quiet`: what it says is shown only if it fails.
    """
    done = _run(argv, capture=quiet)
    if done.returncode != 0:
        said = f":\n{done.stdout}" if quiet else "; it says why above"
        raise CommandError(f"`{' '.join(argv)}` ended with {done.returncode}{said}")


def output(argv: Sequence[str]) -> str:
    """Run a program and return what it says on both of its outputs. Raises CommandError."""
    done = _run(argv, capture=True)
    if done.returncode != 0:
        raise CommandError(f"`{' '.join(argv)}` ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether a program ends with 0; what it says is dropped. Raises CommandError if it is missing."""
    return _run(argv, capture=True).returncode == 0


def _run(argv: Sequence[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    into = subprocess.PIPE if capture else None
    try:
        return subprocess.run(  # noqa: S603 - no shell; the command lines are made in this package
            list(argv),
            cwd=ROOT,
            stdout=into,
            stderr=subprocess.STDOUT if capture else None,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ProgramMissingError(
            f"{argv[0]} is not installed: on Debian and Ubuntu `make system` installs it"
        ) from None
