"""`multus-eni check`: a snapshot, the checks, their results on standard output."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from check.model import DONE, Resource, Scope, Snapshot
from check.pod_status import failed_agent
from check.render import Form, render
from check.results import PAGE, Result
from check.run import ERRORS, UNKNOWN, exit_code, run_checks
from check.sources.aws import with_aws
from check.sources.dump import read_dump
from check.sources.live import read_live
from common.kube.kubeconfig_client import KubeconfigClient
from common.pod_keys import NETWORKS

PAUSE = 2.0
"""Seconds between two looks while it waits."""


class ScopeError(Exception):
    """There is nothing to look at of what the user asks about; the text says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    `wait` is for how many seconds to look again while there are errors, `aws` whether to ask EC2, too.
    """

    scope: Scope
    form: Form
    dump: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    wait: float = 0.0
    aws: bool = False


def run_command(options: Options) -> int:
    """Check, print and return the exit code: 0, 1 for an error, 3 for warnings.

    2 where nothing could be read. Raises ScopeError, DumpError, ClusterError, ApiError or Unreachable.
    """
    with _source(options) as look:
        deadline = time.monotonic() + options.wait
        results = _results(look(), options.scope)
        while exit_code(results) == ERRORS and time.monotonic() + PAUSE < deadline:
            time.sleep(PAUSE)
            results = _results(look(), options.scope)
    text = render(results, options.form, colour=_colours(), unicode=_has_marks())
    sys.stdout.write(text)
    sys.stdout.flush()
    code = exit_code(results)
    if code == UNKNOWN:
        why = next(each.details[0] for each in results if each.check.needs)
        print(
            f"multus-eni check: nothing could be looked at: {why}; what it reads: {PAGE}#rights",
            file=sys.stderr,
        )
    return code


def _results(snapshot: Snapshot, scope: Scope) -> tuple[Result, ...]:
    if why := why_nothing_to_check(snapshot, scope):
        raise ScopeError(why)
    return run_checks(snapshot, scope)


def why_nothing_to_check(snapshot: Snapshot, scope: Scope) -> str:
    """Say why a namespace or a pod that the user names has nothing to look at, empty if it may have."""
    known = {each.name for each in snapshot.all("Namespace")}
    # A dump may be without namespaces.
    if scope.namespace and known and scope.namespace not in known:
        return f"there is no namespace {scope.namespace}"
    if not scope.pod or "Pod" in snapshot.missing:
        return ""
    named = {each.namespace: each for each in snapshot.all("Pod") if each.name == scope.pod}
    pod = named.pop(scope.namespace, None)
    if pod is None:
        others = f"; {', '.join(sorted(named))} has one of that name" if named else ""
        return f"there is no pod {scope.pod} in the namespace {scope.namespace}{others}"
    if why := _without_networks(pod):
        return f"pod {pod.key} {why}: Multus attaches it to nothing"
    return ""


def _without_networks(pod: Resource) -> str:
    if not pod.annotations.get(NETWORKS):
        return f"has no annotation {NETWORKS}"
    if pod.spec.get("hostNetwork"):
        return "uses the host's network"
    if pod.metadata.get("deletionTimestamp"):
        return "is being deleted"
    phase = str(pod.status.get("phase"))
    return f"has ended ({phase})" if phase in DONE and not failed_agent(pod) else ""


@contextmanager
def _source(options: Options) -> Iterator[Callable[[], Snapshot]]:
    if (dump := options.dump) is not None:
        yield lambda: read_dump(dump)
        return
    with KubeconfigClient("multus-eni-check", options.kubeconfig, options.context) as client:

        def look() -> Snapshot:
            found = read_live(client, options.scope)
            return with_aws(found) if options.aws else found

        yield look


def _colours() -> bool:
    # https://no-color.org
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _has_marks() -> bool:
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
