"""Over years, with crashes between any two steps, no API server ever distrusts a replica.

`MULTUS_ENI_CERTS_SIMULATIONS` says how many lives are simulated.
"""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.certs.simulation import DAY, SETTINGS, Simulation

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

LIVES = int(os.environ.get("MULTUS_ENI_CERTS_SIMULATIONS", "1"))
YEARS = 3 * 365 * DAY


@settings(max_examples=LIVES, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), instances=st.sampled_from([1, 2]))
def test_replicas_and_api_servers_always_agree(seed: int, instances: int) -> None:
    simulation = Simulation(Random(seed), instances)
    simulation.run(YEARS)
    simulation.calm = True
    for each in simulation.instances:
        each.skew = 0.0
    if simulation.world.configuration is None:
        simulation.world.recreate()
    simulation.run(4 * SETTINGS.propagation + 2 * DAY, damage=False)
    assert simulation.settled(), simulation.story()
