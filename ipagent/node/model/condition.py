"""Pod condition: whether a pod's Multus addresses are assigned, for `kubectl wait` and readiness gates. Pure.

Kubernetes: Pod Lifecycle, "Pod conditions" and "Pod readiness".
"""

from __future__ import annotations

from dataclasses import dataclass

from common.object_fields import Object, as_list, as_map, as_text
from common.shorten import SHOWN

CONDITION = "multus-eni.io/AddressesAssigned"
MAX_MESSAGE = 1024
"""Characters. The API server sets no limit; a pod's conditions are read with every pod."""


@dataclass(frozen=True, slots=True)
class PodCondition:
    """What `status.conditions` says: `status` is True or False, `since` its last change (RFC 3339)."""

    status: str
    reason: str
    message: str
    since: str = ""

    def matches(self, other: PodCondition | None) -> bool:
        """Whether status, reason and message are those of another one, whatever its time is."""
        return other is not None and (self.status, self.reason, self.message) == (
            other.status,
            other.reason,
            other.message,
        )


def read_condition(pod_status: Object, kind: str = CONDITION) -> PodCondition | None:
    """Find a condition in a pod's status; what is not as the API server writes it counts as missing."""
    for each in map(as_map, as_list(pod_status.get("conditions"))):
        if each.get("type") == kind:
            return PodCondition(
                as_text(each.get("status"), SHOWN),
                as_text(each.get("reason"), SHOWN),
                as_text(each.get("message"), MAX_MESSAGE),
                as_text(each.get("lastTransitionTime"), SHOWN),
            )
    return None
