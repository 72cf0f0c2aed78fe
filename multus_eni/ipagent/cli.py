"""Command line of the agent: `ipagent init | sidecar | started`, and commands for the person in trouble.

`started` runs once a second while a sidecar starts: it must import next to nothing, and no mode may import
what it does not need. Hence no argparse here, and imports where they are used.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from multus_eni import contract
from multus_eni.contract import ExitCode, Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENV_STARTED_FILE = contract.ENV_PREFIX + "STARTED_FILE"
ENV_TERMINATION_LOG = contract.ENV_PREFIX + "TERMINATION_LOG"

COLLECT_AT_START = 100_000
"""Objects made before Python looks for garbage, its default being 700: more than init makes in all."""

_COMMANDS = ("addresses", "enis", "release", "init", "sidecar")
"""What `multus_eni.ipagent.commands` does; init and sidecar with arguments, such as --dry-run."""


def main() -> None:
    """Run the agent with this process's arguments and environment; never returns."""
    arguments = sys.argv[1:]
    # Imports make many objects and hardly any garbage.
    gc.set_threshold(COLLECT_AT_START)
    code = run(arguments, os.environ)
    if arguments in (["init"], ["sidecar"]):
        # Every log line is flushed. To take the interpreter apart would cost a tenth of init's CPU time.
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    begun = time.monotonic()
    started_file = env.get(ENV_STARTED_FILE) or contract.STARTED_FILE
    match arguments:
        case ["started"]:
            return 0 if os.path.exists(started_file) else 1  # noqa: PTH110 - pathlib costs more than the rest
        case [("init" | "sidecar") as mode]:
            if mode == "sidecar":
                # Before the slow imports: the volume outlives a container that starts again.
                _forget(started_file)
            from multus_eni.ipagent.process import Process, work  # noqa: PLC0415 - see the module's docstring

            termination_log = env.get(ENV_TERMINATION_LOG) or contract.TERMINATION_LOG
            return work(Process(Mode(mode), env, begun, started_file, termination_log))
        case ["--help" | "-h" | "help"]:
            from multus_eni.ipagent.commands.manual import HELP  # noqa: PLC0415 - see the module's docstring

            sys.stdout.write(HELP)
            return 0
        case ["--version"]:
            from multus_eni.version import VERSION  # noqa: PLC0415 - see the module's docstring

            sys.stdout.write(f"ipagent {VERSION}\n")
            return 0
        case [command, *_] if command in _COMMANDS:
            from multus_eni.ipagent.commands import line  # noqa: PLC0415 - see the module's docstring

            return line.run(arguments, env)
    given = " ".join(arguments) or "nothing"
    known = "init, sidecar, started, addresses, enis, release, --help, --version"
    sys.stderr.write(f"ipagent: {given!r} is none of {known}\n")
    return ExitCode.USAGE


def _forget(started_file: str) -> None:
    try:
        os.unlink(started_file)  # noqa: PTH108 - see the module's docstring
    except OSError:
        # Not there; or not to be written, which writing it will tell.
        return
