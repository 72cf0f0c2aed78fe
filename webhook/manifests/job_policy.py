"""What a Job's podFailurePolicy does if the agent fails.

A rule without `containerName` holds for init containers, too, and the first rule that matches decides
(Kubernetes documentation, "Pod failure policy"; pkg/controller/job, matchPodFailurePolicy).
"""

from __future__ import annotations

import msgspec

from common.agent_container import CONTAINER_NAME
from common.exit_codes import ExitCode

_FINAL = frozenset({"FailJob", "FailIndex"})
_CODES = tuple(code for code in ExitCode if code is not ExitCode.OK)


class _ExitCodes(msgspec.Struct, frozen=True):
    containerName: str | None = None  # noqa: N815 - the API's name
    operator: str = ""
    values: list[int] = []

    def match(self, code: int) -> bool:
        """Return whether they match an exit code of the agent."""
        if self.containerName not in (None, CONTAINER_NAME):
            return False
        return (code in self.values) == (self.operator == "In")


class _Rule(msgspec.Struct, frozen=True):
    action: str = ""
    onExitCodes: _ExitCodes | None = None  # noqa: N815 - the API's name


class _Policy(msgspec.Struct, frozen=True):
    rules: list[_Rule] = []


class _Spec(msgspec.Struct, frozen=True):
    podFailurePolicy: _Policy | None = None  # noqa: N815 - the API's name


def failure_policy_warning(job_spec: bytes | msgspec.Raw | None) -> str | None:
    """Warn of a policy that ends the Job when the agent fails once; `job_spec` has the pod template in it."""
    try:
        policy = msgspec.json.decode(job_spec or b"{}", type=_Spec).podFailurePolicy
    except msgspec.DecodeError:
        return None
    if policy is None:
        return None
    codes = [int(code) for code in _CODES if _action(policy, code) in _FINAL]
    if not codes:
        return None
    listed = ", ".join(map(str, codes))
    return (
        f"multus-eni: podFailurePolicy ends the Job when {CONTAINER_NAME} fails once with exit code "
        f"{listed}: name the container that the rule is about in onExitCodes.containerName"
    )


def _action(policy: _Policy, code: int) -> str:
    matching = (rule.action for rule in policy.rules if rule.onExitCodes and rule.onExitCodes.match(code))
    return next(matching, "")
