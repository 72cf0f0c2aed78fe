"""What a user reads at the end of an agent, for each error, backend and kind of pod.

`python -m tests.ipagent.test_remedies` prints the whole table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from common.agent_settings import Mode, RestartPolicy
from common.exit_codes import ExitCode
from common.pod_keys import TIMEOUT
from ipagent.assign.ec2_error_codes import CODE_GROUPS, Failure
from ipagent.assign.errors import (
    AgentError,
    BadImdsAnswer,
    Ec2Unreachable,
    NoCredentials,
    NoImds,
    NoPermission,
    SilentImds,
    error_of,
)
from ipagent.node.model.remedies import of_node_agent
from ipagent.termination import restart_text

pytestmark = pytest.mark.pure

INIT, SIDECAR = Mode.INIT, Mode.SIDECAR
PODS: dict[str, tuple[Mode, RestartPolicy | None]] = {
    "Deployment, StatefulSet, DaemonSet": (INIT, RestartPolicy.ALWAYS),
    "Deployment, sidecar": (SIDECAR, RestartPolicy.ALWAYS),
    "Job, OnFailure": (INIT, RestartPolicy.ON_FAILURE),
    "Job, KubeVirt, Workflow: Never": (INIT, RestartPolicy.NEVER),
    "Job, sidecar": (SIDECAR, RestartPolicy.NEVER),
    "injected by an older webhook": (INIT, None),
}
BACKENDS = ("direct", "node")


def classes(kind: type[AgentError] = AgentError) -> Iterator[type[AgentError]]:
    for each in kind.__subclasses__():
        if each.__module__ == AgentError.__module__:
            yield each
        yield from classes(each)


def errors() -> Iterator[AgentError]:
    """Return an error of every class, and one of every group of EC2's codes."""
    for kind in sorted(set(classes()), key=lambda kind: kind.__name__):
        yield kind(f"({kind.__name__})")
    for group in CODE_GROUPS:
        yield error_of(Failure(group.fault, f"({group.codes[0]})", remedy=group.remedy))


def told(error: AgentError, backend: str, pod: str) -> str:
    mode, policy = PODS[pod]
    error = of_node_agent(error) if backend == "node" else error
    return f"{error}. {error.remedy}{restart_text(error.exit_code, mode, policy)}"


def messages() -> Iterator[tuple[str, str, AgentError, str]]:
    for error, backend, pod in itertools.product(errors(), BACKENDS, PODS):
        yield backend, pod, error, told(error, backend, pod)


def test_nothing_that_is_about_a_pod_is_asked_of_a_node_agent() -> None:
    of_pods = (
        "the pod's ServiceAccount",
        "the pod's environment",
        "HttpPutResponseHopLimit",
        "NetworkPolicy that",
        "service mesh",
    )
    kinds = (NoImds, SilentImds, BadImdsAnswer, NoCredentials, NoPermission, Ec2Unreachable)
    for kind in kinds:
        assert of_node_agent(kind("w")).remedy != kind.remedy
    for backend, _, _, text in messages():
        assert backend == "direct" or not [part for part in of_pods if part in text], text


def test_a_remedy_of_its_own_and_what_may_pass_are_kept() -> None:
    error = NoCredentials("w", "mine")
    assert of_node_agent(error) is error
    silent = SilentImds("w")
    silent.transient = True
    found = of_node_agent(silent)
    assert (type(found), str(found), found.transient) == (SilentImds, "w", True)


def test_only_a_pod_that_is_never_restarted_has_failed_for_good() -> None:
    for _, pod, _, text in messages():
        mode, policy = PODS[pod]
        final = mode is INIT and policy is RestartPolicy.NEVER
        assert ("failed for good" in text) is final
        assert not (final and "starts again by itself" in text)
        assert not (final and "next start" in text and "or a new pod" not in text)


@pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.OK])
def test_more_time_is_offered_where_time_has_run_out(code: ExitCode) -> None:
    offered = TIMEOUT in restart_text(code, INIT, RestartPolicy.NEVER)
    assert offered is (code in (17, 18, 19))


def test_what_is_in_the_pod_itself_is_not_said_to_pass_with_the_containers_next_start() -> None:
    """Addresses, annotations and credentials come with a pod's creation."""
    for code in (2, 11, 13, 16, 20):
        assert restart_text(code, INIT, RestartPolicy.ALWAYS) == ""
    for code in (ExitCode.NO_PERMISSION, ExitCode.ENI_FULL, ExitCode.HELD_ELSEWHERE):
        assert "starts again by itself" in restart_text(code, INIT, RestartPolicy.ON_FAILURE)


if __name__ == "__main__":
    for line_backend, line_pod, line_error, line in messages():
        print(f"{int(line_error.exit_code)} | {line_backend} | {line_pod} | {line}")
