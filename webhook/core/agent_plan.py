"""The agent that a pod gets, as decided; container.py and resources.py turn it into a container."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from common.agent_settings import AgentSettings, Mode
from webhook.core.requested_units import CapacityRequest


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """The agent that a pod gets. `cpu` (cores) and `memory` (bytes) are those of the pod's annotations.

    `eips`: the pod claims Elastic IPs, and needs the label by which the controller finds it.
    """

    mode: Mode
    image: str
    settings: AgentSettings
    cpu: Decimal | None = None
    memory: Decimal | None = None
    capacity: CapacityRequest = CapacityRequest()  # noqa: RUF009 - immutable
    eips: bool = False
