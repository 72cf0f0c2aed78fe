"""Wait for the pod's Elastic IPs, which the controller associates: IMDS shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from common.exit_codes import ExitCode
from common.pod_keys import EIP_CONDITION, EIP_WAIT
from ipagent.assign.errors import NoImds
from ipagent.assign.report import Report
from ipagent.assign.retry import remaining
from ipagent.direct.agent import Agent
from ipagent.interrupting_signals import StopSignal

LOOK_SECONDS = 1.0
"""Between two looks. IMDS shows an association within seconds."""
REMEDY = (
    f"The pod's condition {EIP_CONDITION} says why (kubectl describe pod); without {EIP_WAIT} the app starts "
    "anyway"
)


class Cloud(Protocol):
    """Where Elastic IPs are shown."""

    def elastic_ips(self, mac: str) -> Mapping[str, str]:
        """Return which public addresses stand for private ones of an ENI; raises NoImds."""


def wait(agent: Agent, cloud: Cloud, report: Report, deadline: float) -> Report:
    """Wait until each interface that the settings name has an Elastic IP, or until the deadline on the clock.

    `report` is that of the assignment; one that failed is returned as it is. Raises StopSignal for a signal
    from outside.
    """
    if report.exit_code != ExitCode.OK:
        return report
    timing, problem = agent.timing, ""
    missing = list(agent.settings.eip_wait)
    found: list[str] = []
    agent.log.info("waiting", message=f"Waiting for the Elastic IP of {', '.join(missing)}")
    try:
        while True:
            try:
                found, missing = _look(agent, cloud)
                problem = ""
            except NoImds as error:
                if not problem:
                    agent.log.warning("lookup-failed", message=f"The Elastic IPs can't be read: {error}")
                problem = f" ({error})"
            if not missing:
                return report.followed_by(f" {'; '.join(found)}.")
            left = remaining(deadline, timing.clock())
            if left <= 0:
                break
            timing.sleep(min(LOOK_SECONDS, left))
    except StopSignal as stop:
        if not stop.timed_out:
            raise
    within = f"within {agent.settings.timeout} s"
    text = f"The Elastic IP of {', '.join(missing)} has not come {within}{problem}. {REMEDY}."
    return Report(ExitCode.DEADLINE, text, report.address, report.eni)


def _look(agent: Agent, cloud: Cloud) -> tuple[list[str], list[str]]:
    """Return what has been found, as sentences, and the interfaces that have none."""
    found, missing = [], []
    placements = [item.placement for item in agent.reconciler.plan.items]
    for interface in agent.settings.eip_wait:
        mine = [each for each in placements if each.holding.interface == interface]
        shown = {
            key: public
            for mac in {each.eni.mac for each in mine}
            for key, public in cloud.elastic_ips(mac).items()
        }
        public = [
            f"{shown[address]} is associated with {address} ({interface})"
            for address in (str(each.holding.address) for each in mine)
            if address in shown
        ]
        found += public
        missing += [] if public else [interface]
    return found, missing
