"""The actions without a server: they know their own parameters, and no others."""

from __future__ import annotations

import pytest

from tests.doubles import load_world
from tests.doubles.actions import ACTIONS, perform
from tests.doubles.refusals import Ec2Error
from tests.doubles.wire import Parameters
from tests.doubles_tests import worlds

pytestmark = pytest.mark.pure

VALID = {
    "AssignPrivateIpAddresses": {"NetworkInterfaceId": worlds.A1, "PrivateIpAddress.1": "10.0.1.100"},
    "DescribeInstances": {"InstanceId.1": worlds.NODE_A},
    "DescribeNetworkInterfaces": {"NetworkInterfaceId.1": worlds.A1},
    "DescribeSubnets": {"SubnetId.1": worlds.POD_SUBNET},
    "UnassignPrivateIpAddresses": {"NetworkInterfaceId": worlds.B1, "PrivateIpAddress.1": "10.0.1.50"},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_parameter_that_the_action_does_not_have_is_refused(action: str) -> None:
    world = load_world(worlds.world())

    assert perform(world, action, Parameters(VALID[action]), 0.0)
    with pytest.raises(Ec2Error, match="The parameter Colour is not recognized"):
        perform(world, action, Parameters(VALID[action] | {"Colour": "blue"}), 0.0)


@pytest.mark.parametrize(
    "action", [action for action in ACTIONS if "Assign" in action or "Unassign" in action]
)
def test_there_is_no_dry_run_of_a_change(action: str) -> None:
    with pytest.raises(Ec2Error, match="The parameter DryRun is not recognized"):
        perform(load_world(worlds.world()), action, Parameters(VALID[action] | {"DryRun": "true"}), 0.0)
