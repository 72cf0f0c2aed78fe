"""A cluster whose EC2 shows changes a second late, and the controller that leads in it."""

from __future__ import annotations

import pytest

from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.world import World


@pytest.fixture
def world() -> World:
    return World(delay=1.0)


@pytest.fixture
def leader(world: World) -> Leader:
    return Leader(world)
