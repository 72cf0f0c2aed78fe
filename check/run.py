"""Run the checks on a cluster."""

from __future__ import annotations

from collections.abc import Iterable

from check.checks.cluster import CLUSTER
from check.checks.elastic_ips import ELASTIC_IPS
from check.checks.endpoints import WAYS
from check.checks.installation import INSTALLATION
from check.checks.namespaces import NAMESPACES
from check.checks.node_networks import CONTROLLER
from check.checks.nodes import NODES
from check.checks.pods import PODS
from check.checks.subnets import VPC
from check.cluster import Cluster
from check.model import NotApplicable, Scope, Snapshot, Verdict
from check.results import Check, Problem, Result

CHECKS: tuple[Check, ...] = (
    *CLUSTER,
    *INSTALLATION,
    CONTROLLER,
    *NAMESPACES,
    *NODES,
    *PODS,
    ELASTIC_IPS,
    *VPC,
    *WAYS,
)
"""In the order in which they are shown."""

MAX_DETAILS = 20
"""Problems of one check that are listed; the rest is counted."""

OK, ERRORS, UNKNOWN, WARNINGS = 0, 1, 2, 3
"""Exit codes."""


def run_checks(snapshot: Snapshot, scope: Scope, checks: Iterable[Check] = CHECKS) -> tuple[Result, ...]:
    """Run those checks that the scope asks for."""
    cluster = Cluster(snapshot, scope)
    return tuple(_run(check, cluster) for check in checks if check.pre or not scope.pre)


def exit_code(results: Iterable[Result]) -> int:
    """Return 1 for an error, 3 for nothing worse than warnings, 2 where nothing could be read, else 0."""
    results = tuple(results)
    found = {result.verdict for result in results}
    if Verdict.ERROR in found:
        return ERRORS
    if Verdict.WARNING in found:
        return WARNINGS
    # What needs nothing but the API server's version, everybody may read.
    read = any(result.verdict is Verdict.OK for result in results if result.check.needs)
    return OK if read else UNKNOWN


def _run(check: Check, cluster: Cluster) -> Result:
    missing = cluster.snapshot.missing
    if why := next((missing[need] for need in check.needs if need in missing), None):
        return Result(check, Verdict.SKIPPED, (why,))
    try:
        found = [each if isinstance(each, Problem) else Problem(each) for each in check.run(cluster)]
    except NotApplicable as error:
        return Result(check, Verdict.SKIPPED, (str(error),))
    commands = {each.text: each.command for each in found}
    if not commands:
        return Result(check, Verdict.OK)
    problems = list(commands)
    shown = problems[:MAX_DETAILS]
    if len(problems) > MAX_DETAILS:
        shown.append(f"and {len(problems) - MAX_DETAILS} more")
    return Result(check, check.verdict, tuple(shown), commands)
