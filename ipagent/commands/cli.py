"""Command line of the commands for troubleshooting and of --dry-run: arguments in, output out."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from common.agent_settings import Backend, ContractError, Mode
from ipagent.assign.addresses import IPAddress, parse_address
from ipagent.assign.errors import AgentError, BadUsage
from ipagent.assign.holders import name
from ipagent.assign.retry import Timing
from ipagent.commands import addresses, dry_run, enis, help_text, release
from ipagent.commands.context import CommandContext
from ipagent.commands.render import Palette, Style, error_document, palette_for, sentence
from ipagent.log import Log
from ipagent.termination import crash_text

Answer = tuple[int, dict[str, Any], Callable[[Palette], str]]
"""Exit code, the document for programs, and the text for people."""

TIMING = Timing(time.monotonic, time.sleep, random.random)

MAX_ADDRESSES = 100
"""More than any ENI holds."""

INTERRUPTED, BROKEN_PIPE = 130, 141
"""128 + SIGINT and SIGPIPE, as shells have them."""


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        return _run_command(options, env)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads has enough; the interpreter must not fail over it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run_command(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    palette = palette_for(sys.stdout, env)
    try:
        with closing(CommandContext(env, TIMING)) as context:
            command: Callable[[CommandContext, argparse.Namespace], Answer] = options.command
            code, document, text = command(context, options)
    except ContractError as error:
        return _failed(BadUsage(str(error)), options, env)
    except AgentError as error:
        return _failed(error, options, env)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence instead of a traceback
        return _failed(AgentError(crash_text(error, Log())), options, env)
    sys.stdout.write(_json(document) if options.output == "json" else text(palette))
    sys.stdout.flush()
    return code


def _failed(error: AgentError, options: argparse.Namespace, env: Mapping[str, str]) -> int:
    if options.output == "json":
        sys.stdout.write(_json({"error": error_document(error)}))
    else:
        text = f"{error}. {error.remedy}"
        sys.stderr.write(sentence(f"ipagent {options.name}", text, palette_for(sys.stderr, env), Style.BAD))
    return error.exit_code


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _addresses(context: CommandContext, _: argparse.Namespace) -> Answer:
    view = addresses.inspect(context)
    return view.nodes.exit_code, addresses.as_document(view), lambda palette: addresses.as_text(view, palette)


def _enis(context: CommandContext, _: argparse.Namespace) -> Answer:
    view = enis.inspect(context)
    return view.nodes.exit_code, enis.as_document(view), lambda palette: enis.as_text(view, palette)


def _dry_run(context: CommandContext, options: argparse.Namespace) -> Answer:
    if context.settings.backend is Backend.NODE:
        raise BadUsage(
            "--dry-run shows the calls that a pod makes itself; for this pod the node agent makes them",
            "Ask the node agent of this node, in its pod: ipagent node status.",
        )
    if not options.dry_run:
        text = f"ipagent {options.name} takes other options together with --dry-run only"
        raise BadUsage(text, "Add it, or leave them out.")
    seen = dry_run.forecast(Mode(options.name), context.settings, addresses.inspect(context))
    return seen.exit_code, dry_run.as_document(seen), lambda palette: dry_run.as_text(seen, palette)


def _release(context: CommandContext, options: argparse.Namespace) -> Answer:
    if len(options.addresses) > MAX_ADDRESSES:
        raise BadUsage(f"ipagent release takes at most {MAX_ADDRESSES} addresses", "Call it several times.")

    def confirm(planned: release.Release, warnings: list[str]) -> bool:
        return options.yes or _ask(planned, warnings, context.env)

    done = release.release_addresses(context, options.eni, options.addresses, confirm)
    return done.exit_code, release.as_document(done), lambda palette: release.as_text(done, palette)


def _ask(planned: release.Release, warnings: list[str], env: Mapping[str, str]) -> bool:
    """Ask on the terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    palette = palette_for(sys.stderr, env)
    sys.stderr.write(release.as_text(planned, palette))
    for warning in warnings:
        sys.stderr.write(sentence("Warning", warning, palette, Style.DOUBTFUL))
    listed = ", ".join(map(str, planned.held))
    sys.stderr.write(f"Take {listed} off {name(planned.eni)}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ipagent", epilog="ipagent --help says more.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(title: str, run: Callable[..., Answer], description: str, epilog: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            title,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument(
            "-o",
            "--output",
            choices=("text", "json"),
            default="text",
            help="a table for people, or one JSON document (%(default)s)",
        )
        command.set_defaults(command=run)
        return command

    for mode in Mode:
        words = {"mode": str(mode)}
        command = add(
            mode, _dry_run, help_text.DRY_RUN.format(**words), help_text.DRY_RUN_EPILOG.format(**words)
        )
        command.add_argument("--dry-run", action="store_true", help="show what would be done; change nothing")
    add("addresses", _addresses, help_text.ADDRESSES, help_text.ADDRESSES_EPILOG)
    add("enis", _enis, help_text.ENIS, help_text.ENIS_EPILOG)
    _add_release_options(add("release", _release, help_text.RELEASE, help_text.RELEASE_EPILOG))
    return parser


def _add_release_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("addresses", metavar="ADDRESS", nargs="+", type=_address, help="IPv4 or IPv6")
    command.add_argument("--eni", required=True, type=_eni, metavar="ENI", help="the ENI that has them")
    command.add_argument("--yes", action="store_true", help="do not ask, for scripts")


def _address(text: str) -> IPAddress:
    try:
        return parse_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 or IPv6 address") from None


def _eni(text: str) -> str:
    if not re.fullmatch(r"eni-[0-9a-f]{8,17}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an id of an ENI, such as eni-0123456789abcdef0")
    return text
