"""The two ends of a module's `connection`, a fixture that it makes by `rig.connected`."""

from __future__ import annotations

import pytest

from ipagent.controller.ec2.client import ControllerEc2Client
from tests.doubles import Doubles


@pytest.fixture
def ec2(connection: tuple[ControllerEc2Client, Doubles]) -> ControllerEc2Client:
    return connection[0]


@pytest.fixture
def double(connection: tuple[ControllerEc2Client, Doubles]) -> Doubles:
    return connection[1]
