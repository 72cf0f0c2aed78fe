"""Addresses of pods in prefixes that are delegated to their ENIs: these need no call to EC2.

IMDS shows them on the node itself, also while EC2 is away. It does not show tags: whether an ENI that EC2 has
described is ours is decided by what EC2 says.
Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ipagent.assign.addresses import IPAddress
from ipagent.assign.retry import Timing, remaining
from ipagent.assign.topology import Eni

Read = Callable[[Collection[str]], Mapping[str, Eni]]
"""Reads ENIs by MAC, as far as IMDS shows them; empty while it does not answer."""

LATE_SECONDS = 2.0
TRIES = 5
"""Reads, LATE_SECONDS apart, for an address that no prefix of its ENI has: IMDS lags behind EC2."""
FRESH_SECONDS = 60.0
"""For how long a read holds for further pods: most networks have no prefixes."""
Pair = tuple[str, IPAddress]
"""The MAC of a pod's interface, and an address of it."""


def nothing_delegated(macs: Collection[str]) -> Mapping[str, Eni]:  # noqa: ARG001 - a Read
    """Show no ENI."""
    return {}


class DelegatedPrefixes:
    """The prefixes of the node's ENIs, as IMDS has shown them last; `enis` goes by MAC."""

    def __init__(self, read: Read, timing: Timing) -> None:
        self.enis: Mapping[str, Eni] = {}
        self._read = read
        self._timing = timing
        self._read_at: dict[str, float] = {}
        self._known: frozenset[Pair] = frozenset()
        # Pairs that are looked for, and how often they have been.
        self._open: dict[Pair, int] = {}

    def covers(self, mac: str, address: IPAddress) -> bool:
        """Whether the ENI with this MAC has a prefix with the address."""
        eni = self.enis.get(mac)
        return eni is not None and eni.prefix_of(address) is not None

    def step(self, held: frozenset[Pair]) -> float | None:
        """Read what is due for what Multus has given to pods; returns the seconds until more is."""
        now = self._timing.clock()
        new = {pair for pair in held - self._known if pair[0]}
        self._known = held
        self._open = {pair: tries for pair, tries in self._open.items() if pair in held}
        self._open |= {pair: 0 for pair in new if not self._fresh(pair[0], now) or pair[0] in self.enis}
        due = {mac for (mac, _), tries in self._open.items() if not tries or now >= self._late(mac)}
        due = {mac for mac in due if not self._settled(mac, now)}
        if due:
            self._learn(self._read(due), due, now)
        self._open = {
            pair: tries for pair, tries in self._open.items() if tries < TRIES and not self.covers(*pair)
        }
        return min((remaining(self._late(mac), now) for mac, _ in self._open), default=None)

    def _fresh(self, mac: str, now: float) -> bool:
        return now - self._read_at.get(mac, now - FRESH_SECONDS) < FRESH_SECONDS

    def _settled(self, mac: str, now: float) -> bool:
        """Return whether what was read a moment ago covers all that is looked for on the ENI."""
        wanted = (address for each, address in self._open if each == mac)
        return self._fresh(mac, now) and all(self.covers(mac, address) for address in wanted)

    def _late(self, mac: str) -> float:
        return self._read_at.get(mac, 0.0) + LATE_SECONDS

    def _learn(self, shown: Mapping[str, Eni], due: Collection[str], now: float) -> None:
        # An older read says no more than none. With macvlan each pod has a MAC of its own.
        fresh = {mac: at for mac, at in self._read_at.items() if self._fresh(mac, now)}
        self._read_at = {**fresh, **dict.fromkeys(due, now)}
        found = {mac: eni for mac, eni in shown.items() if eni.prefixes and not eni.is_primary}
        self.enis = {**{mac: eni for mac, eni in self.enis.items() if mac not in shown}, **found}
        for mac, address in self._open:
            if mac in due:
                self._open[mac, address] += 1 if mac in self.enis else TRIES
