"""`multus-eni inject` and `explain`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from common import pod_keys
from common.agent_settings import Credentials, Mode
from common.arguments import add_kubeconfig
from common.pod_keys import Injection
from webhook.cli.serve import NETWORKS

if TYPE_CHECKING:
    from webhook.manifests.commands import Options as ManifestOptions

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

UNSET = "unset"

INJECT = """\
Writes manifests with the agent in them, as the webhook would put it into their pods; no cluster is asked.

  helm template web ./chart | multus-eni inject -f - --config settings.yaml | kubectl apply -f -

Pods, every kind with a pod template (Deployment, CronJob, Argo's Rollout, JobSet, ...) and lists of them are
read, YAML or JSON. Documents that get no agent come out byte for byte; one that makes pods in another way is
named on standard error. Where the webhook would refuse a pod, nothing is written and the exit code is 2."""

EXPLAIN = """\
Says for each workload whether its pods get the agent, why, and what to change: in manifests (-f), where no
cluster is asked, or on the cluster of the kubeconfig, with the labels and settings that count there:

  multus-eni explain deploy/web -n my-apps

To find running pods that should have the agent and have none, or an old one (exit code 3):

  kubectl get ns,pods -A -o json | multus-eni explain -f - --only-missing --config settings.yaml

Without --config the settings are the defaults, and images and backends are not compared."""

SURROUNDINGS = """\
Namespaces among the manifests supply their own labels; --namespace-injection, --namespace-mode and
--namespace-credentials stand for the labels of all others.
The settings file of an installed webhook is in its ConfigMap (multus-eni serve --help shows one):

  kubectl get cm multus-eni-injector -n multus-eni-system -o jsonpath='{.data.settings\\.yaml}'"""


def add_inject(commands: Commands) -> None:
    """Add `inject`."""
    inject = commands.add_parser(
        "inject",
        help="write manifests with the agent in them",
        description=INJECT,
        epilog=SURROUNDINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_input(inject, config_required=True)
    inject.set_defaults(run=_inject)


def add_explain(commands: Commands) -> None:
    """Add `explain`."""
    explain = commands.add_parser(
        "explain",
        help="say for each workload whether it is injected, and why",
        description=EXPLAIN,
        epilog=SURROUNDINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_argument(
        "workloads",
        nargs="*",
        metavar="KIND/NAME",
        help="workloads on the cluster, as in deploy/web or rollouts.argoproj.io/web",
    )
    _add_input(explain, config_required=False, file_required=False)
    add_kubeconfig(explain)
    explain.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=("refused", "warning", "not-injected"),
        help="exit code 3 if a workload is refused; with warning also for a warning, with not-injected also "
        "for one that attaches to networks and gets no agent; may be repeated",
    )
    explain.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="form of the answer (%(default)s)"
    )
    explain.add_argument(
        "--only-missing",
        action="store_true",
        help="list only pods that should have the agent and have none, or an old one; exit code 3 if any",
    )
    explain.set_defaults(run=_explain)


def _add_input(
    command: argparse.ArgumentParser, *, config_required: bool, file_required: bool = True
) -> None:
    command.add_argument(
        "-f", "--filename", required=file_required, metavar="FILE", help="the manifests; - for standard input"
    )
    command.add_argument(
        "--config", type=Path, required=config_required, metavar="FILE", help="the webhook's settings file"
    )
    command.add_argument("--networks", type=Path, metavar="FILE", help=NETWORKS)
    command.add_argument(
        "-n", "--namespace", help="namespace of manifests that name none (default), or of the workloads"
    )
    command.add_argument(
        "--namespace-injection",
        choices=_choices(Injection),
        default=Injection.ENABLED.value,
        help="a namespace's label multus-eni.io/injection (%(default)s)",
    )
    command.add_argument(
        "--namespace-mode",
        choices=_choices(Mode),
        default=UNSET,
        help="a namespace's label multus-eni.io/mode (%(default)s)",
    )
    command.add_argument(
        "--namespace-credentials",
        choices=_choices(Credentials),
        default=UNSET,
        help="a namespace's label multus-eni.io/credentials (%(default)s)",
    )


def _choices(kind: type[StrEnum]) -> list[str]:
    # Of an enum argparse would show the names of Python's.
    return [*(each.value for each in kind), UNSET]


def _inject(options: argparse.Namespace) -> int:
    from webhook.manifests.commands import run_inject  # noqa: PLC0415 - --help needs none of this

    return _offline("inject", lambda: run_inject(_manifest_options(options)))


def _explain(options: argparse.Namespace) -> int:
    if bool(options.workloads) == bool(options.filename):
        print("multus-eni explain: give either -f FILE or workloads such as deploy/web", file=sys.stderr)
        return 2
    if options.workloads:
        return _explain_live(options)
    return _run_explain(_manifest_options(options), options)


def _explain_live(options: argparse.Namespace) -> int:
    from common.kube.errors import ApiError, ClusterError, Unreachable  # noqa: PLC0415 - nor this
    from webhook.manifests.live import UnknownResource, connect, read_workloads  # noqa: PLC0415 - nor this

    try:
        with connect(options.kubeconfig, options.context) as client:
            found = read_workloads(client, options.workloads, options.namespace)
    except (ApiError, ClusterError, Unreachable, UnknownResource) as error:
        print(f"multus-eni explain: {error}", file=sys.stderr)
        return 2
    if found.note and options.config is None:
        print(f"multus-eni explain: note: {found.note}", file=sys.stderr)
    given = replace(
        _manifest_options(options),
        namespace=found.namespace,
        content=found.documents,
        settings=found.settings,
    )
    return _run_explain(given, options)


def _run_explain(manifests: ManifestOptions, options: argparse.Namespace) -> int:
    from webhook.manifests.commands import FailOn, run_explain  # noqa: PLC0415 - nor this

    return _offline(
        "explain",
        lambda: run_explain(
            manifests,
            as_json=options.output == "json",
            only_missing=options.only_missing,
            fail_on=[FailOn(each) for each in options.fail_on],
        ),
    )


def _offline(command: str, run: Callable[[], int]) -> int:
    from webhook.manifests.commands import InputError  # noqa: PLC0415 - nor this
    from webhook.settings_file import ConfigError  # noqa: PLC0415 - nor this

    try:
        return run()
    except (ConfigError, InputError) as error:
        print(f"multus-eni {command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1  # the reader of the output has closed the pipe
    except OSError as error:
        print(f"multus-eni {command}: cannot write: {error.strerror}", file=sys.stderr)
        return 1


def _manifest_options(options: argparse.Namespace) -> ManifestOptions:
    from webhook.manifests.commands import Options  # noqa: PLC0415 - nor this

    given = {
        pod_keys.INJECTION: options.namespace_injection,
        pod_keys.MODE: options.namespace_mode,
        pod_keys.CREDENTIALS: options.namespace_credentials,
    }
    labels = {key: value for key, value in given.items() if value != UNSET}
    return Options(
        options.filename or "",
        options.config,
        options.namespace or "default",
        labels,
        networks=options.networks,
    )
