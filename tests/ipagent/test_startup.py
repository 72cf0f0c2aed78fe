"""What the agent's processes share."""

import pytest

from common import python_gc
from common.agent_settings import Mode, RestartPolicy
from common.exit_codes import ExitCode
from ipagent import cli, startup
from ipagent.termination import restart_text

pytestmark = pytest.mark.pure

AGAIN = "The container starts again by itself"


@pytest.mark.parametrize(
    ("code", "mode", "policy", "says"),
    [
        (ExitCode.OK, Mode.INIT, RestartPolicy.NEVER, ""),
        (143, Mode.INIT, RestartPolicy.NEVER, ""),
        (ExitCode.NO_ENI, Mode.INIT, RestartPolicy.NEVER, "failed for good"),
        (ExitCode.DEADLINE, Mode.INIT, RestartPolicy.NEVER, "multus-eni.io/timeout"),
        (ExitCode.DEADLINE, Mode.SIDECAR, RestartPolicy.NEVER, f"{AGAIN}."),
        (ExitCode.DEADLINE, Mode.INIT, RestartPolicy.ON_FAILURE, f"{AGAIN}."),
        (ExitCode.DEADLINE, Mode.INIT, None, f"{AGAIN}, unless the pod has restartPolicy Never."),
        (ExitCode.NO_ENI, Mode.INIT, RestartPolicy.ALWAYS, ""),
    ],
)
def test_the_message_says_what_the_restart_policy_makes_of_the_pod(
    code: int, mode: Mode, policy: RestartPolicy | None, says: str
) -> None:
    text = restart_text(code, mode, policy)
    assert says in text
    assert bool(text) is bool(says)
    assert (AGAIN in text) is (AGAIN in says)


def test_an_injected_container_collects_garbage_as_the_programs_that_import_the_collector_do() -> None:
    assert cli.COLLECT_AT_START == python_gc.COLLECT_AT_START
    assert startup.COLLECT_AT_WORK == python_gc.COLLECT_AT_WORK
