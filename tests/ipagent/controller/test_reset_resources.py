"""A kubelet that starts may reset its node's resources: each reset is answered by one write, and at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipagent.controller.loop import SHORTEST
from ipagent.controller.model.node_attachment import PodUsage
from tests.ipagent.controller.loop_rig import LoopRig
from tests.ipagent.controller.prefix_world import OAM, PrefixWorld
from tests.ipagent.controller.world import network

pytestmark = pytest.mark.pure

RESOURCE = "multus-eni.io/oam"
STATUS = "/api/v1/nodes/n1/status"


@pytest.fixture
def rig() -> LoopRig:
    """A node at rest whose capacity is written."""
    world = PrefixWorld()
    world.add_network(network("oam"))
    world.add_node("n1")
    found = LoopRig(world)
    found.run(30)
    attachment = world.attachments[OAM]
    world.attachments[OAM] = replace(attachment, usage=PodUsage(attachment.status.mac, 0))
    found.run(30)
    assert world.nodes["n1"].advertised[RESOURCE] == ("14", "14")
    found.api.writes.clear()
    return found


def reset(rig: LoopRig, number: int, left: dict[str, tuple[str, str]]) -> None:
    node = rig.world.nodes["n1"]
    rig.world.nodes["n1"] = replace(node, advertised=left, version=f"reset-{number}")


@pytest.mark.parametrize(
    "left", [{}, {RESOURCE: ("0", "0")}, {RESOURCE: ("14", "0")}, {RESOURCE: ("14", "")}]
)
def test_resources_that_a_kubelet_resets_are_written_again_at_once(
    rig: LoopRig, left: dict[str, tuple[str, str]]
) -> None:
    # Also while the last write is remembered so that it is not made twice.
    for number, pause in enumerate((0.0, 0.3, 1.5, 40.0)):
        rig.run(pause)
        rig.api.writes.clear()
        reset(rig, number, left)
        began = rig.world.now
        rig.run(10, until=lambda: bool(rig.api.writes))
        assert rig.world.now - began <= 2 * SHORTEST + 0.01
        assert rig.api.writes == {STATUS: 1}
        assert rig.world.nodes["n1"].advertised[RESOURCE] == ("14", "14")
    rig.run(60)
    assert rig.api.writes == {STATUS: 1}
