"""Leaked ENIs: with this cluster's tags, attached nowhere, and no NodeAttachment needs them."""

from __future__ import annotations

from ipagent.controller.model.actions import Delete
from ipagent.controller.model.ec2_snapshot import AVAILABLE
from ipagent.controller.model.state import Releases
from ipagent.controller.reconcile.ec2_answers import SETTLE
from ipagent.controller.reconcile.plan_draft import Draft

TWO_LOOKS = 60.0
"""Seconds between the two descriptions that must both show it."""
LOOK_AGAIN = 10.0
"""Seconds between two looks at one that EC2 does not delete."""


def find_orphans(draft: Draft) -> frozenset[str]:
    """Return what is not needed now; ENIs that another cluster or person has made are never among them."""
    made = draft.state.ec2.made
    return frozenset(
        eni.id
        for enis in draft.ours.values()
        for eni in enis
        if eni.state == AVAILABLE
        and not eni.managed
        and eni.id not in draft.needed
        and draft.now - made.get(eni.id, draft.now - SETTLE) >= SETTLE
    )


def delete_leaked(draft: Draft, found: frozenset[str]) -> tuple[str, ...]:
    """Return the leaked ones, and delete them unless releases are not on."""
    ec2 = draft.state.ec2
    read = ec2.read_at
    if read is None:
        return ()
    leaked = tuple(sorted(eni for eni in found if read - ec2.orphaned.get(eni, read) >= TWO_LOOKS))
    if draft.state.releases is Releases.ON:
        for eni in leaked:
            draft.call(Delete(eni, eni))
            if draft.refusal(eni) is not None:
                # Somebody may have attached it meanwhile.
                draft.describe_eni(eni, LOOK_AGAIN)
    return leaked
