"""The `multus-eni` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from multus_eni.version import VERSION

DESCRIPTION = """\
The mutating admission webhook of multus-eni-injector. It injects an agent into pods that attach to Multus
networks, so that EC2 has their addresses as secondary addresses of the node's ENI before the app starts."""

SERVE = """\
Serves the webhook over TLS until SIGTERM. POST /mutate/… takes an AdmissionReview (admission.k8s.io/v1),
GET /healthz and /readyz are for probes. A renewed certificate is taken over without a restart.
Decisions are logged on standard error, one JSON line each."""

CONFIG = """\
the settings file, for example:

  agent:
    image: registry.example/multus-eni/ipagent:1.0   # required
    imagePullPolicy: IfNotPresent
    env:                                  # for the injected container
      - {name: AWS_REGION, value: eu-central-1}
    timeout: 120s                         # pods may ask for another one
    allowedCIDRs: [10.10.0.0/16]          # the agent refuses other addresses
    logLevel: info                        # debug, info, warning, error
  injection:
    defaultMode: init                     # init or sidecar
    excludedNamespaces: [monitoring]      # kube-system always is
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 only if it did what it was asked to."""
    parser = _parser()
    options = parser.parse_args(arguments)
    return _serve(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multus-eni", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"multus-eni {VERSION}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve the webhook",
        description=SERVE,
        epilog=f"--config is {CONFIG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the settings file, see below"
    )
    serve.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="certificate chain, PEM")
    serve.add_argument("--tls-key", type=Path, required=True, metavar="FILE", help="its key, PEM")
    serve.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104 - a pod's
    serve.add_argument("--port", type=_port, default=8443, help="port to listen on, 0 for any (%(default)s)")
    serve.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="serve Prometheus metrics over plain HTTP on this port, 0 for any (not served)",
    )
    serve.add_argument(
        "--drain",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="go on answering for so long after SIGTERM while connections are open (%(default)s)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 600")
    return seconds


def _serve(options: argparse.Namespace) -> int:
    from multus_eni.webhook.config import ConfigError  # noqa: PLC0415 - --help needs none of this
    from multus_eni.webhook.serve import ListenError, Options, serve  # noqa: PLC0415 - nor this
    from multus_eni.webhook.tls import CertificateError  # noqa: PLC0415 - nor this

    try:
        serve(
            Options(
                config=options.config,
                certificate=options.tls_cert,
                key=options.tls_key,
                host=options.host,
                port=options.port,
                metrics_port=options.metrics_port,
                drain=options.drain,
            )
        )
    except (ConfigError, CertificateError, ListenError) as error:
        print(f"multus-eni serve: {error}", file=sys.stderr)
        return 2
    return 0
