"""How EC2 shows network interfaces, and what the controller makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from ipagent.controller.ec2 import responses
from ipagent.controller.model.ec2_snapshot import ATTACHED, ATTACHING, AVAILABLE, DETACHING

pytestmark = pytest.mark.pure

ID = {"NetworkInterfaceId": "eni-1"}


@pytest.mark.parametrize(
    ("shown", "state", "instance"),
    [
        ({"Status": "pending"}, AVAILABLE, ""),
        ({"Status": "available"}, AVAILABLE, ""),
        ({"Status": "in-use", "Attachment": {"Status": "attaching", "InstanceId": "i-1"}}, ATTACHING, "i-1"),
        ({"Status": "in-use", "Attachment": {"Status": "attached", "InstanceId": "i-1"}}, ATTACHED, "i-1"),
        ({"Status": "in-use", "Attachment": {"Status": "detaching", "InstanceId": "i-1"}}, DETACHING, "i-1"),
        ({"Status": "available", "Attachment": {"Status": "detached"}}, AVAILABLE, ""),
        # For a moment, as it comes or goes.
        ({"Status": "in-use"}, DETACHING, ""),
        ({"Status": "in-use", "Attachment": {}}, DETACHING, ""),
        # Of a NAT gateway or a load balancer.
        ({"Status": "in-use", "Attachment": {"Status": "attached"}}, ATTACHED, ""),
    ],
)
def test_an_interface_is_free_only_while_nothing_has_it(
    shown: dict[str, Any], state: str, instance: str
) -> None:
    found = responses.read_eni({**ID, **shown})  # type: ignore[typeddict-item] # as much as EC2 shows
    assert (found.state, found.instance) == (state, instance)
