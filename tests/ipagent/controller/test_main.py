"""How the controller's process ends where it can't begin."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from common.exit_codes import ExitCode
from ipagent.controller import main
from ipagent.controller.main import Options, run

pytestmark = pytest.mark.pure

OPTIONS = Options("prod", "eu-central-1", "multus-eni-system")


@pytest.fixture(autouse=True)
def _unblocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the signals to the tests' own process."""
    monkeypatch.setattr(main, "block_stop_signals", lambda: None)


def test_it_says_what_it_needs_where_there_is_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(OPTIONS, {}) == ExitCode.USAGE
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"]) == ("error", "failed")
    assert line["message"].endswith("Run it in a pod with a ServiceAccount, or set KUBECONFIG.")


def test_a_bug_ends_it_with_a_sentence_that_says_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Mapping[str, str]) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(main, "find_cluster", broken)
    assert run(OPTIONS, {}) == ExitCode.INTERNAL
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["level"], line["event"]) == ("error", "failed")
    assert "ZeroDivisionError" in line["message"]
    assert "test_main.py" in line["message"]
