"""Command line of the double: `python -m tests.doubles`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import socket
import sys

from tests.doubles.clock import Clock, ManualClock
from tests.doubles.cloud import Cloud
from tests.doubles.config.document import DocumentError
from tests.doubles.config.world_file import load_world
from tests.doubles.server import listen, serve, url_of

DESCRIPTION = """\
Serves a strict double of EC2 (network interface and address calls) and of the instance metadata service.

Prints one line of JSON when both listen, {"ec2": "http://…", "imds": "http://…"}, and logs to stderr.
Ends on SIGTERM or SIGINT. Point a program at it with AWS_ENDPOINT_URL_EC2 and
AWS_EC2_METADATA_SERVICE_ENDPOINT."""

EPILOG = """\
Beside EC2, on the same port:
  GET /_double/state       the world as JSON: subnets, instances, interfaces with their addresses
  GET /_double/journal     all calls so far, or those of ?action=…: time, caller, parameters, result; DELETE
                           forgets them
  PUT /_double/faults      {"faults": [{"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded",
                           "times": 3}, {"action": "*", "delay_ms": 500}]}; replaces what was there
  PATCH /_double/settings  imds_delay_ms, imds, attach_delay_ms, throttling, limits
  POST /_double/clock      {"advance_ms": 5000}, with --manual-clock
The form of the world file stands at the top of tests/doubles/config/world_file.py, that of a fault in
tests/doubles/fault_injection.py; docs/testing.md has examples."""


def main(arguments: list[str] | None = None) -> int:
    """Run the double until a signal; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        cloud = Cloud(load_world(options.world), ManualClock() if options.manual_clock else Clock())
        sockets = listen((options.ec2, options.imds))
    except DocumentError as error:
        sys.stderr.write(f"The world can't be used. {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"Can't listen: {error.strerror}\n")
        return 1
    asyncio.run(_run(cloud, sockets))
    return 0


async def _run(cloud: Cloud, sockets: list[socket.socket]) -> None:
    urls = dict(zip(("ec2", "imds"), map(url_of, sockets), strict=True))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, cloud.closing.set)
    await serve(cloud, sockets, lambda: print(json.dumps(urls), flush=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.doubles",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--world", required=True, metavar="FILE", help="the world file (YAML)")
    for name in ("ec2", "imds"):
        parser.add_argument(
            f"--{name}",
            type=_address,
            default=("127.0.0.1", 0),
            metavar="HOST:PORT",
            help="where to listen; port 0 is any free port (default: 127.0.0.1:0)",
        )
    parser.add_argument(
        "--manual-clock",
        action="store_true",
        help="time stands still until it is advanced through /_double/clock",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="info logs every call (default)",
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:0 or [::1]:8000")
    return host.removeprefix("[").removesuffix("]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
