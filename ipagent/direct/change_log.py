"""The sidecar's log of changes: each is logged once."""

from __future__ import annotations

from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.report import Problem
from ipagent.direct.agent import Agent


class ChangeLog:
    """Compares the agent's plan with what was logged last."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._assigned = self._confirmed()
        self._problems: frozenset[str] = frozenset()
        self._conflicts: frozenset[str] = frozenset()

    def log_changes(self) -> None:
        """Log what has changed since the last call."""
        self._log_assigned()
        log = self._agent.log
        problems = {_sentence(problem): problem for problem in self._agent.problems(refused=True)}
        for sentence in (new for new in problems if new not in self._problems):
            holding, eni = problems[sentence].holding, problems[sentence].eni_id
            log.error("not-assigned", message=sentence, address=str(holding.address), eni=eni)
        self._problems = frozenset(problems)
        conflicts = {_conflict(item): item for item in self._items(Phase.TAKEN)}
        for sentence in (new for new in conflicts if new not in self._conflicts):
            item = conflicts[sentence]
            log.error("conflict", message=sentence, address=str(item.address), eni=item.eni_id)
        self._conflicts = frozenset(conflicts)

    def _log_assigned(self) -> None:
        log = self._agent.log
        assigned = self._confirmed()
        for eni, address in sorted(assigned.keys() - self._assigned.keys(), key=str):
            log.info("assigned", message=f"{address} is on {eni}", address=str(address), eni=eni)
        held = {holding.address for holding in self._agent.held()}
        for eni, address in sorted(self._assigned.keys() - assigned.keys(), key=str):
            if address not in held:
                what = self._what_becomes_of_it(eni, self._assigned[eni, address])
                text = f"The pod no longer holds {address}; {what}"
                log.info("removed", message=text, address=str(address), eni=eni)
        self._assigned = assigned

    def _what_becomes_of_it(self, eni: str, prefix: IPNetwork | None) -> str:
        if prefix is not None:
            return f"it stays on {eni}, in that ENI's prefix {prefix}"
        # What becomes of the release is logged with it (`released`): EC2 keeps a primary address.
        released = self._agent.settings.release_on_exit
        return f"it is to be released from {eni}" if released else f"it stays on {eni}"

    def _confirmed(self) -> dict[tuple[str, IPAddress], IPNetwork | None]:
        """Return the ENI and address of all that is assigned, with the ENI's prefix that contains it."""
        return {(item.eni_id, item.address): item.prefix for item in self._items(Phase.CONFIRMED)}

    def _items(self, phase: Phase) -> tuple[PlannedAddress, ...]:
        return self._agent.reconciler.plan.in_phases({phase})


def _sentence(problem: Problem) -> str:
    who = f"{problem.holding.address} ({problem.holding.interface})"
    on = f" on {problem.eni_id}" if problem.eni_id else ""
    return f"Not assigned: {who}{on}: {problem.text}. {problem.error.remedy}"


def _conflict(item: PlannedAddress) -> str:
    who = f"{item.address} ({item.placement.holding.interface})"
    why = item.failure.text if item.failure else "another ENI has it"
    return (
        f"{who} was taken off {item.eni_id} while the pod still holds it: {why}. It is left there: remove it "
        "from the pod that should not have it. This pod takes it over when it is added to the interface "
        "again."
    )
