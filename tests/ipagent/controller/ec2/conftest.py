"""The two ends of a module's `connection`, a fixture that it makes by `rig.connected`."""

from __future__ import annotations

import pytest

from ipagent.controller.ec2.client import Ec2
from tests.doubles import Doubles


@pytest.fixture
def ec2(connection: tuple[Ec2, Doubles]) -> Ec2:
    return connection[0]


@pytest.fixture
def double(connection: tuple[Ec2, Doubles]) -> Doubles:
    return connection[1]
