"""The node of each test, and the doubles on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ipagent import worlds
from tests.ipagent.agent_rig import MakeStage, Stage
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> MakeStage:  # noqa: F811 - the fixture
    def make(**world: Any) -> Stage:
        return Stage(node, worlds.world(**world), tmp_path)

    return make
