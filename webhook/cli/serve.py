"""`multus-eni serve`: the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.agent_settings import LogLevel
from common.arguments import add_log_level, port

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

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

NETWORKS = (
    "the controller's file that says which network each NetworkAttachmentDefinition belongs to: pods then "
    "request capacity (the chart's capacity.enabled)"
)


def add_serve(commands: Commands) -> None:
    """Add `serve`."""
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
    serve.add_argument("--networks", type=Path, metavar="FILE", help=NETWORKS)
    serve.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="certificate chain, PEM")
    serve.add_argument("--tls-key", type=Path, required=True, metavar="FILE", help="its key, PEM")
    serve.add_argument(
        "--wait-for-certificate",
        action="store_true",
        help="wait until both files are there, instead of ending: a Secret may be created later",
    )
    serve.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104 - a pod's
    serve.add_argument("--port", type=port, default=8443, help="port to listen on, 0 for any (%(default)s)")
    serve.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="serve Prometheus metrics over plain HTTP on this port, 0 for any (not served)",
    )
    serve.add_argument(
        "--drain",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="keep answering for so long after SIGTERM (%(default)s)",
    )
    add_log_level(serve, "; pods left alone are logged at debug")
    serve.set_defaults(run=_serve)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 600")
    return seconds


def _serve(options: argparse.Namespace) -> int:
    from webhook.server.cert_watcher import CertificateError  # noqa: PLC0415 - nor this
    from webhook.server.main import ListenError, Options, serve  # noqa: PLC0415 - nor this
    from webhook.settings_file import ConfigError  # noqa: PLC0415 - --help needs none of this

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
                wait_for_certificate=options.wait_for_certificate,
                log_level=LogLevel(options.log_level),
                networks=options.networks,
            )
        )
    except (ConfigError, CertificateError, ListenError) as error:
        print(f"multus-eni serve: {error}", file=sys.stderr)
        return 2
    return 0
