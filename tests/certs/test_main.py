"""What the watches tell the controller."""

from __future__ import annotations

import io
import json

import pytest

from certs.main import REMEDIES, WakeOnChange
from common.kube.errors import ApiError
from common.log import JsonLog

pytestmark = pytest.mark.pure


def test_each_list_and_each_change_wakes_the_controller_and_a_failure_is_logged() -> None:
    woken: list[int] = []
    stream = io.BytesIO()
    waker = WakeOnChange(lambda: woken.append(1), "tls", JsonLog(stream))
    waker.on_list(())
    waker.on_change(None, gone=False)
    waker.on_change(None, gone=True)
    assert len(woken) == 3
    waker.on_error(ApiError(403, "Forbidden", "no", "list", remedy=REMEDIES[403]))
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"], line["object"]) == ("warning", "watch_failed", "tls")
    assert "docs/certificates.md" in line["error"]
    waker.on_recovery()
    assert len(woken) == 3
