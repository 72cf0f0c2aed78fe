"""Finds the ENIs for the pods' addresses, with as few queries to EC2 and IMDS as possible.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from dataclasses import replace

from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.plan import Plan
from ipagent.node.reconcile.eni_cache import EniCache
from ipagent.node.reconcile.prefix_addresses import DelegatedPrefixes
from ipagent.node.reconcile.state import NodeState


class EniLookup:
    """Reads the ENIs that the node's pods need, and has `state` work out what these are to have on them.

    EC2 (`enis`) need not be asked for an address in a prefix of its ENI, which IMDS shows (`prefixes`).
    """

    def __init__(self, state: NodeState, enis: EniCache, prefixes: DelegatedPrefixes) -> None:
        self._state = state
        self._enis = enis
        self._prefixes = prefixes

    def step(self, plan: Plan) -> float | None:
        """Read the ENIs if need be; returns the seconds until prefixes are to be read again."""
        state, enis, prefixes = self._state, self._enis, self._prefixes
        delay = prefixes.step(state.attached())
        # Once more where the result shows that the ENIs are not all known.
        for _ in range(2):
            enis.step(*self._looked_for(plan))
            topology = replace(enis.topology, delegated=prefixes.enis) if prefixes.enis else enis.topology
            state.resolve_conflicts(topology, enis.unknown(state.macs()))
            if all(not enis.may_appear(address) for address in self._unplaced(plan)):
                break
        return delay

    def due_in(self, plan: Plan) -> float | None:
        """Return the seconds until there is reason to ask EC2; None if there is none."""
        return self._enis.due_in(*self._looked_for(plan))

    def _looked_for(self, plan: Plan) -> tuple[frozenset[str], frozenset[IPAddress], frozenset[str]]:
        """Return what ENIs are looked for by: MACs, addresses that no known ENI carries, MACs of Multus."""
        state = self._state
        return state.macs_beyond(self._prefixes.covers), self._unplaced(plan), state.attached_macs()

    def _unplaced(self, plan: Plan) -> frozenset[IPAddress]:
        """Return the addresses that no known ENI carries."""
        unplaced = (each.holding.address for one in self._state.by_pod.values() for each in one.unplaced)
        lost = (i.address for i in plan.items if i.failure and i.failure.fault is Fault.NO_ENI)
        return frozenset((*unplaced, *lost))
