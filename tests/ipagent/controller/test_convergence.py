"""Whatever goes wrong for a while: when it has ended, every node gets what it should have, in bounded time,
exactly once, and then there is rest."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.ec2_snapshot import ATTACHED, CLUSTER_TAG
from ipagent.controller.model.node_attachment import READY
from ipagent.controller.reconcile.decide import DESCRIBE_EVERY
from tests.ipagent.controller.obstacles import LENT, OBSTACLES, OURS, Trouble

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

BOUND = 720.0
"""Seconds until all is ready: what EC2 refuses for want of quota is tried again after ten minutes at most."""
CALM = 1500.0
"""Until everything that is left over is gone, and prefixes that nobody needs any more."""
REST = 1500.0

obstacle = st.tuples(st.sampled_from(OBSTACLES), st.integers(0, 120), st.integers(1, 240))


def unready(trouble: Trouble) -> list[str]:
    """Return the NodeAttachments that should be ready and are not."""
    world = trouble.world
    wanted = [f"{node}.{name}" for node in world.nodes for name in OURS]
    by_name = world.attachments
    missing = [
        name
        for name in wanted
        if name not in by_name
        or by_name[name].deleting
        or by_name[name].node_uid != world.nodes[by_name[name].node].uid
        or READY not in by_name[name].status.conditions
        or by_name[name].status.conditions[READY].status != TRUE
    ]
    if any(not world.enis[eni.id].instance for eni in trouble.lent):
        missing.append(LENT)
    missing += [name for name in trouble.specs if name not in world.networks or world.networks[name].deleting]
    return missing


def check_once(trouble: Trouble) -> None:
    """Check that each node has one ENI of each network, and that of others nothing is touched."""
    world = trouble.world
    made = [eni for eni in world.enis.values() if eni.tags.get(CLUSTER_TAG) == "prod"]
    assert Counter(eni.key for eni in made) == Counter(
        (node.uid, name) for node in world.nodes.values() for name in OURS
    )
    instances = {node.uid: node.instance for node in world.nodes.values()}
    assert all((eni.state, eni.instance) == (ATTACHED, instances[eni.key[0]]) for eni in made)
    assert world.enis[trouble.theirs.id] == trouble.theirs
    for eni in (world.enis[each.id] for each in trouble.lent):
        assert eni.state == ATTACHED
        (holder,) = (each for each in world.attachments.values() if each.status.eni == eni.id)
        assert holder.status.conditions[READY].status == TRUE
    assert not world.twice
    assert not world.cut_off
    assert not [node.name for node in world.nodes.values() if node.tainted]
    for name in (*OURS, LENT):
        assert world.networks[name].status[READY].status == TRUE, world.networks[name].status
        assert world.networks[name].counts[2] == 0, "failed"


@settings(max_examples=max(1, settings().max_examples // 3))
@given(st.lists(obstacle, min_size=1, max_size=6), st.integers(0, 2**16))
def test_when_all_obstacles_have_ended_all_is_ready_once_and_at_rest(
    obstacles: list[tuple[str, int, int]], seed: int
) -> None:
    trouble = Trouble(seed)
    for name, after, seconds in obstacles:
        trouble.begin(name, after, seconds)
    rig = trouble.rig
    rig.run(1000, until=lambda: trouble.ended == len(obstacles))
    assert trouble.ended == len(obstacles)
    trouble.settle()
    rig.run(BOUND, until=lambda: not unready(trouble))
    assert not unready(trouble), {
        name: each.status.conditions.get(READY) for name, each in trouble.world.attachments.items()
    }
    rig.run(CALM)
    check_once(trouble)
    rig.api.writes.clear()
    trouble.world.calls.clear()
    turns = rig.turns
    rig.run(REST)
    assert not rig.api.writes
    assert set(trouble.world.calls) == {"DescribeAll"}
    assert trouble.world.calls["DescribeAll"] <= REST / DESCRIBE_EVERY
    assert rig.turns - turns <= 3 * 5 + REST / 150
    check_once(trouble)
