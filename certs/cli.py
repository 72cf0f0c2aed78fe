"""`multus-eni certs`: the command line."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from common.agent_settings import LogLevel
from common.arguments import add_log_level, port

if TYPE_CHECKING:
    from certs.main import Options

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

CERTS = """\
Issues and rotates the webhook's certificate: CA and leaf in one Secret, caBundle in one
MutatingWebhookConfiguration."""

RUN = """\
Makes CA and leaf, renews them with an overlap, writes caBundle, and repairs what is deleted or damaged, until
SIGTERM. Two at once do no harm. Logs to standard error, one JSON line for each event.
GET /healthz and /readyz are for probes, /metrics for Prometheus."""

STATUS = """\
Shows until when CA and certificate are valid, and what `run` would do next; changes nothing.
Exit code: 0 in order, 1 the API server refused or did not answer, 2 usage, 3 something needs to be done."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
)
_MAX_DAYS = 36500


def add_certs(commands: Commands) -> None:
    """Add `certs` and its commands."""
    certs = commands.add_parser("certs", help="issue and renew the webhook's certificate", description=CERTS)
    kinds = certs.add_subparsers(title="commands", dest="certs", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    run = kinds.add_parser(
        "run", help="issue and renew it, until SIGTERM", description=RUN, formatter_class=raw
    )
    _add_common(run)
    run.add_argument(
        "--host",
        default="0.0.0.0",  # noqa: S104 - a pod's
        help="address for probes and metrics (%(default)s)",
    )
    run.add_argument("--port", type=port, default=8080, help="port for them, 0 for any (%(default)s)")
    add_log_level(run)
    for kind in ("label", "annotation"):
        run.add_argument(
            f"--secret-{kind}",
            type=_pair,
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help=f"{kind} of a Secret that it creates, such as those by which Helm knows its objects; may be "
            "repeated",
        )
    run.set_defaults(run=_run)
    status = kinds.add_parser(
        "status",
        help="show until when it is valid, and what is next",
        description=STATUS,
        formatter_class=raw,
    )
    _add_common(status)
    status.add_argument(
        "--output", choices=("text", "json"), default="text", help="form of the answer (%(default)s)"
    )
    status.set_defaults(run=_status)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--namespace", type=_dns_name, help="namespace of Secret and Service (in a pod: its own)"
    )
    command.add_argument("--secret", type=_dns_name, required=True, metavar="NAME", help="the Secret")
    command.add_argument(
        "--configuration",
        type=_dns_name,
        required=True,
        metavar="NAME",
        help="the MutatingWebhookConfiguration",
    )
    command.add_argument(
        "--service",
        type=_dns_name,
        metavar="NAME",
        help="the webhook's Service: the certificate is for <service>.<namespace>.svc",
    )
    command.add_argument(
        "--dns-name",
        type=_dns_name,
        action="append",
        default=[],
        metavar="NAME",
        help="one more name for the certificate; may be repeated",
    )
    durations = {
        "certificate-lifetime": ("90d", "lifetime of the certificate, renewed with a third left"),
        "ca-lifetime": ("1095d", "lifetime of the CA, renewed with a third left"),
        "propagation": ("5m", "the longest time until every replica serves a new Secret"),
        "api-propagation": ("10s", "the longest time until every API server has a new caBundle"),
    }
    for name, (default, text) in durations.items():
        command.add_argument(
            f"--{name}", type=_duration, default=default, metavar="TIME", help=f"{text} (%(default)s)"
        )


def _run(options: argparse.Namespace) -> int:
    from certs.main import run  # noqa: PLC0415 - nor this
    from common.kube.errors import ClusterError  # noqa: PLC0415 - --help needs none of this

    try:
        return run(_options(options))
    except (ClusterError, _UsageError) as error:
        print(f"multus-eni certs run: {error}", file=sys.stderr)
        return 2


def _status(options: argparse.Namespace) -> int:
    from certs.main import status  # noqa: PLC0415 - nor this
    from common.kube.errors import ClusterError  # noqa: PLC0415 - nor this

    try:
        return status(_options(options), as_json=options.output == "json")
    except (ClusterError, _UsageError) as error:
        print(f"multus-eni certs status: {error}", file=sys.stderr)
        return 2


class _UsageError(Exception):
    pass


def _options(given: argparse.Namespace) -> Options:
    from certs.main import Options  # noqa: PLC0415 - nor this
    from certs.rotation import Settings  # noqa: PLC0415 - nor this
    from certs.store import Names, SecretMetadata  # noqa: PLC0415 - nor this
    from common.kube.rest_config import pod_namespace  # noqa: PLC0415 - nor this

    namespace = given.namespace or pod_namespace()
    if namespace is None:
        raise _UsageError("this process is not in a pod: give --namespace")
    names = [f"{given.service}.{namespace}.svc"] if given.service else []
    names += given.dns_name
    if not names:
        raise _UsageError("give --service or --dns-name: the names that the certificate is for")
    settings = Settings(
        names=frozenset(names),
        certificate_lifetime=given.certificate_lifetime,
        ca_lifetime=given.ca_lifetime,
        propagation=given.propagation,
        api_propagation=given.api_propagation,
    )
    if problem := settings.problem():
        raise _UsageError(problem)
    which = Names(namespace, given.secret, given.configuration)
    if "host" not in given:
        return Options(which, settings)
    secret_metadata = SecretMetadata(dict(given.secret_label), dict(given.secret_annotation))
    return Options(which, settings, given.host, given.port, secret_metadata, LogLevel(given.log_level))


def _duration(text: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= _MAX_DAYS * _UNITS["d"]:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time from 1s to {_MAX_DAYS}d: give a number with s, m, h or d"
        )
    return float(seconds)


def _dns_name(text: str) -> str:
    if not _DNS_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a DNS name in lower case")
    return text


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
