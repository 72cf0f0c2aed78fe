"""The controller's client and the strict double, with one key that has the rights of a policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import Credentials
from ipagent.controller.ec2.client import ControllerEc2Client
from tests.doubles import Doubles

POLICIES = Path(__file__).parents[4] / "examples" / "iam"
REGION = "eu-central-1"
KEY = {"id": "AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}


def shipped(policy: str) -> dict[str, Any]:
    """Return a policy of `examples/iam`."""
    found: dict[str, Any] = json.loads((POLICIES / policy).read_text(encoding="utf-8"))
    return found


@contextmanager
def connected(
    world: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ControllerEc2Client, Doubles]]:
    """Start the double, and a client with KEY."""
    with Doubles(world) as double:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", double.ec2_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY["id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY["secret"])
        made = ControllerEc2Client(REGION, Credentials.CHAIN, 2)
        yield made, double
        made.close()
