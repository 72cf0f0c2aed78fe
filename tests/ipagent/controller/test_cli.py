"""The controller's command line: what it refuses to start with."""

from __future__ import annotations

import pytest

from common.exit_codes import ExitCode
from common.kube.lease import timings_for
from ipagent.controller.cli import run

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        ([], {}, "required: --cluster"),
        (["--cluster=prod"], {}, "the region is not known: set the chart's controller.region"),
        (
            ["--cluster=prod"],
            {"AWS_REGION": "eu-central-1"},
            "this process is not in a pod: give --namespace",
        ),
        (["--cluster=prod", "--region=eu-central-1"], {}, "this process is not in a pod: give --namespace"),
    ],
)
def test_what_is_missing_is_named(
    arguments: list[str], env: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, env) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_the_help_says_how_often_a_leader_renews_the_lease(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], {}) == ExitCode.OK
    timings = timings_for(60.0)
    assert (timings.interval, timings.renew) == (60.0 / 4, 60.0 * 2 / 3)
    text = " ".join(capsys.readouterr().out.split())
    assert "renews the Lease every quarter of it, and gives up after two thirds (15)" in text
