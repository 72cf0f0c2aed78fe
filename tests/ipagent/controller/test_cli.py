"""The controller's command line: what it refuses to start with."""

from __future__ import annotations

import pytest

from common.exit_codes import ExitCode
from ipagent.controller.cli import run

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        ([], {}, "required: --cluster"),
        (["--cluster=prod"], {}, "the region is not known: set the chart's controller.region"),
        (["--cluster=prod"], {"AWS_REGION": "eu-central-1"}, "this is not a pod: say --namespace"),
        (["--cluster=prod", "--region=eu-central-1"], {}, "this is not a pod: say --namespace"),
    ],
)
def test_what_is_missing_is_named(
    arguments: list[str], env: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, env) == ExitCode.USAGE
    assert said in capsys.readouterr().err
