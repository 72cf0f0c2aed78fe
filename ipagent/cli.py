"""Command line: `ipagent init | sidecar | node | links | controller | started`; commands for troubleshooting.

`started` runs beside a sidecar that starts, on the same CPU: it must import next to nothing, and no mode may
import what it does not need. Hence no argparse here, and imports where they are used.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from common.agent_container import STARTED_FILE, TERMINATION_LOG, TOKEN_FILE
from common.agent_settings import ENV_BACKEND, ENV_PREFIX, Backend, Mode
from common.exit_codes import ExitCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENV_STARTED_FILE = ENV_PREFIX + "STARTED_FILE"
ENV_TERMINATION_LOG = ENV_PREFIX + "TERMINATION_LOG"
ENV_TOKEN_FILE = ENV_PREFIX + "TOKEN_FILE"

COLLECT_AT_START = 100_000
"""As in `common/python_gc.py`, without its import: more objects than init makes in all."""

_COMMANDS = ("addresses", "enis", "release", "init", "sidecar")
"""What `ipagent.commands` does; init and sidecar with arguments, such as --dry-run."""
_ALL = (
    "init",
    "sidecar",
    "node",
    "links",
    "controller",
    "started",
    "addresses",
    "enis",
    "release",
    "--help",
    "--version",
)


def main() -> None:
    """Run the agent with this process's arguments and environment; never returns."""
    arguments = sys.argv[1:]
    # Imports make many objects and hardly any garbage.
    gc.set_threshold(COLLECT_AT_START)
    container = arguments in (["init"], ["sidecar"])
    code = run(arguments, os.environ)
    daemon = _is_daemon(arguments)
    if daemon:
        # What --help has written; standard output may be closed.
        print(end="", flush=True)
    if container or daemon:
        # Every log line is flushed. To take the interpreter apart would cost a tenth of init's CPU time.
        os._exit(code)
    sys.exit(code)


def _is_daemon(arguments: Sequence[str]) -> bool:
    return arguments[:1] in (["node"], ["links"], ["controller"]) and "status" not in arguments


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    begun = time.monotonic()
    started_file = env.get(ENV_STARTED_FILE) or STARTED_FILE
    match arguments:
        case ["started", *rest] if (seconds := _wait_seconds(rest)) is not None:
            return 0 if _has_started(started_file, seconds) else 1
        case [("init" | "sidecar") as mode]:
            # Before the slow imports: the volume outlives a container that starts again.
            restarted = mode == "sidecar" and _set_aside(started_file)
            return _run_mode(Mode(mode), env, begun, started_file, restarted=restarted)
        case [("node" | "links" | "controller") as program, *rest]:
            return _program(program, rest, env)
        case [command, *_] if command in _COMMANDS:
            from ipagent.commands import cli  # noqa: PLC0415 - see the module's docstring

            return cli.run(arguments, env)
    return _write_text(arguments)


def _program(program: str, arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one of the programs that serve a node or the cluster."""
    match program:
        case "node":
            from ipagent.node import cli as node  # noqa: PLC0415 - see the module's docstring

            return node.run(arguments, env)
        case "links":
            from ipagent.links import cli as links  # noqa: PLC0415 - see the module's docstring

            return links.run(arguments, env)
        case _:
            from ipagent.controller import cli as controller  # noqa: PLC0415 - see the module's docstring

            return controller.run(arguments, env)


def _wait_seconds(arguments: Sequence[str]) -> int | None:
    """Return the seconds of `--wait=SECONDS`, 0 without arguments, None for others."""
    if not arguments:
        return 0
    option, _, number = arguments[0].partition("=")
    valid = len(arguments) == 1 and option == "--wait" and len(number) <= 4 and number.isdecimal()
    return int(number) if valid else None


def _has_started(started_file: str, seconds: int) -> bool:
    """Return whether the sidecar has started, or does within so many seconds."""
    if os.path.exists(started_file):  # noqa: PTH110 - pathlib costs more than the rest
        return True
    if not seconds:
        return False
    from ipagent.startup_probe import wait_started  # noqa: PLC0415 - see the module's docstring

    return wait_started(started_file, seconds)


def _write_text(arguments: Sequence[str]) -> int:
    """Write the help, the version, or what is wrong with the arguments; returns the exit code."""
    match arguments:
        case ["--help" | "-h" | "help"]:
            from ipagent.commands.help_text import HELP  # noqa: PLC0415 - see the module's docstring

            sys.stdout.write(HELP)
        case ["--version"]:
            from common.version import VERSION  # noqa: PLC0415 - see the module's docstring

            sys.stdout.write(f"ipagent {VERSION}\n")
        case _:
            sys.stderr.write(_usage_error(arguments))
            return ExitCode.USAGE
    return ExitCode.OK


def _usage_error(arguments: Sequence[str]) -> str:
    from ipagent.commands.help_text import HELP  # noqa: PLC0415 - see the module's docstring

    if not arguments:
        return f"ipagent: no command is given\n\n{HELP}"
    from difflib import get_close_matches  # noqa: PLC0415 - nor this

    near = get_close_matches(arguments[0], _ALL, n=1)
    meant = f", did you mean {near[0]}?" if near and near[0] != arguments[0] else ";"
    known = ", ".join(_ALL)
    return f"ipagent: {' '.join(arguments)!r} is not one of {known}{meant} `ipagent --help` has more\n"


def _run_mode(mode: Mode, env: Mapping[str, str], begun: float, started_file: str, *, restarted: bool) -> int:
    from ipagent.startup import ContainerContext  # noqa: PLC0415 - see the module's docstring

    context = ContainerContext(
        mode=mode,
        env=env,
        begun=begun,
        started_file=started_file,
        termination_log=env.get(ENV_TERMINATION_LOG) or TERMINATION_LOG,
        token_file=env.get(ENV_TOKEN_FILE) or TOKEN_FILE,
        restarted=restarted,
    )
    if env.get(ENV_BACKEND) == Backend.NODE:
        from ipagent.nodeclient import main as nodeclient  # noqa: PLC0415 - see the module's docstring

        return nodeclient.run(context)
    from ipagent.direct import main as direct  # noqa: PLC0415 - see the module's docstring

    return direct.run(context)


def _set_aside(started_file: str) -> bool:
    """Set aside the file that a container before this one has left; returns whether there ever was one.

    Not removed: of several containers that end before they have started, as in an outage of EC2, only the
    first would know that the pod has started before.
    """
    before = f"{started_file}.before"
    try:
        os.replace(started_file, before)  # noqa: PTH105 - see the module's docstring
    except OSError:
        # Not there; or not to be written, which writing it will tell.
        return os.path.exists(before)  # noqa: PTH110 - likewise
    return True
