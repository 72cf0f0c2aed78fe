"""What pods give back: only those that asked for it, and only what no living pod names any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ipagent.assign.release import Pair, ReleaseOutcome
from ipagent.assign.selection import IPAddress, sort_key
from ipagent.node.model.claim import ClaimStatus
from ipagent.node.model.events import AddressEvent, EventType
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.state import PodClaims
from ipagent.node.reconcile.status import release_status


@dataclass
class _Return:
    releasing: set[Pair] = field(default_factory=set)
    endings: list[ReleaseOutcome] = field(default_factory=list)


class PendingReleases:
    """Keeps which pods want their addresses released, and what becomes of those that they let go."""

    def __init__(self, happened: Callable[[AddressEvent], None]) -> None:
        self._happened = happened
        self._asked: dict[PodKey, bool] = {}
        self._returns: dict[PodKey, _Return] = {}

    def heed(self, sessions: Mapping[PodKey, PodClaims]) -> None:
        """Take in what the containers want; that of a pod which is gone counts once more."""
        self._asked |= {key: each.claim.release_on_exit for key, each in sessions.items()}

    def let_go(self, gone: Mapping[Pair, PodKey], named: Collection[IPAddress]) -> None:
        """Take in what has been ours and is wanted no longer; `named` is what living pods name."""
        for pair, key in gone.items():
            if self._asked.get(key) and pair[1] not in named:
                self._returns.setdefault(key, _Return()).releasing.add(pair)

    @property
    def wanted(self) -> set[Pair]:
        """What is to be released."""
        return {pair for each in self._returns.values() for pair in each.releasing}

    def keep(self, pending: Collection[Pair], sessions: Mapping[PodKey, PodClaims]) -> None:
        """Forget what is not to be released any more, and pods of which nothing more is to be said."""
        for each in self._returns.values():
            each.releasing &= set(pending)
        leaving = {key for key, each in sessions.items() if each.claim.leaving}
        self._returns = {k: each for k, each in self._returns.items() if each.releasing or k in leaving}
        self._asked = {key: each for key, each in self._asked.items() if key in sessions}

    def ended(self, ending: ReleaseOutcome) -> None:
        """Take in what became of an address."""
        pair = ending.eni_id, ending.address
        for key, each in self._returns.items():
            if pair in each.releasing:
                each.releasing.discard(pair)
                each.endings.append(ending)
                kind = EventType.NOT_RELEASED if ending.failure else EventType.RELEASED
                self._happened(AddressEvent(kind, key, ending.address, ending.eni_id, ending.text))

    def standing(self, key: PodKey) -> ClaimStatus:
        """Say how far a pod is that gives everything back."""
        each = self._returns.get(key, _Return())
        return release_status(sorted((address for _, address in each.releasing), key=sort_key), each.endings)
