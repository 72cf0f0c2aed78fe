"""Decides the next action from the state of both objects, what was observed, and the time. Pure.

A webhook replica and an API server agree while the leaf that the replica serves was signed by a CA in the
caBundle that the API server has. Both see changes late: a replica by the propagation time (the kubelet's
sync, then the webhook's look at its files), an API server by its own, shorter one. So each action keeps
true: every leaf that a replica may still serve chains to a CA in every caBundle that an API server may still
have. A new CA is trusted first, then signs, and the old one goes last. A CA that is trusted but unknown is
treated as one whose Secret was lost: it stays just as long.

Every action changes one object and leads to a state from which the next one follows, so a process may
end between any two of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from certs.state import Leaf, SeenSince, State
from certs.x509 import Bundle, Certificate, unique

MAX_AUTHORITIES = 16
"""How many CAs are trusted at a time: the newest. They are in each entry; an object has 1.5 MiB at most."""
ROOM = 12
"""A leaf lives at least so many propagation times: its last third then holds a whole rotation."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`names` are the leaf's DNS names; all else is in seconds.

    `propagation` is how long a new Secret takes at most to reach every replica, `api_propagation` how long a
    new caBundle takes at most to reach every API server.
    """

    names: frozenset[str]
    certificate_lifetime: float
    ca_lifetime: float
    propagation: float
    api_propagation: float

    def problem(self) -> str | None:
        """Say what is wrong with these lifetimes, None if they leave room for a rotation."""
        if self.propagation < self.api_propagation:
            return "--propagation is shorter than --api-propagation"
        if self.certificate_lifetime < ROOM * self.propagation:
            return f"--certificate-lifetime is shorter than {ROOM} times --propagation"
        if self.ca_lifetime < 3 * self.certificate_lifetime:
            return "--ca-lifetime is shorter than three times --certificate-lifetime"
        return None


@dataclass(frozen=True, slots=True)
class Now:
    """One instant on two clocks: `wall` in seconds since 1970, `steady` on one that never jumps."""

    wall: float
    steady: float


@dataclass(frozen=True, slots=True)
class MakeAuthority:
    """Write a new CA and its key, the CAs of `kept` after it, and `with_leaf` a leaf at once."""

    kept: tuple[Certificate, ...]
    with_leaf: bool
    why: str


@dataclass(frozen=True, slots=True)
class PruneAuthorities:
    """Write these CAs to the Secret, and no others."""

    authorities: tuple[Certificate, ...]
    why: str


@dataclass(frozen=True, slots=True)
class IssueLeaf:
    """Write a new leaf, signed by the CA whose key is in the Secret."""

    authority: Certificate
    why: str


@dataclass(frozen=True, slots=True)
class UpdateCaBundle:
    """Write these CAs as caBundle of every entry."""

    authorities: tuple[Certificate, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, unless something changes."""

    seconds: float
    why: str


Write = MakeAuthority | PruneAuthorities | IssueLeaf | UpdateCaBundle
Action = Write | Wait


def next_action(state: State, seen: SeenSince, now: Now, settings: Settings) -> Action:
    """Decide what to do next."""
    return _Decision(state, seen, now, settings).action()


def in_sync(state: State, wall: float, settings: Settings) -> bool:
    """Return whether each entry trusts the leaf in the Secret, and the leaf is valid and has the names."""
    leaf = state.secret.leaf
    return (
        leaf is not None
        and leaf.valid_at(wall)
        and leaf.certificate.names == settings.names
        and state.trusted_everywhere(leaf.issuer)
    )


def renewal(certificate: Certificate, lifetime: float) -> float:
    """Return when to renew (seconds since 1970): with a third of the lifetime left."""
    return certificate.not_after - lifetime / 3


@dataclass(frozen=True, slots=True)
class _Decision:
    state: State
    seen: SeenSince
    now: Now
    settings: Settings

    def action(self) -> Action:
        if self.state.made_by:
            # When Helm changes the mode it ends this process last, which would undo what others write.
            why = f"the certificate is made by others ({self.state.made_by})"
            return Wait(self.settings.propagation, why)
        signing = self.state.secret.signing
        if signing is None:
            return self._make_authority("the Secret holds no CA with its key")
        if not signing.valid_at(self.now.wall):
            return self._make_authority("the CA is not valid now")
        if self.now.wall >= renewal(signing, self.settings.ca_lifetime):
            return self._make_authority("the CA has less than a third of its life left")
        return self._correct_ca_crt(signing) or self._correct_ca_bundle(signing) or self._issue(signing)

    def _make_authority(self, why: str) -> MakeAuthority:
        known = (*self._held(), *self.state.trusted)
        kept = _first((*self._issuer(), *_newest(known)), MAX_AUTHORITIES - 1)
        # Where no CA is left no replica can be trusted either: nobody loses by a leaf at once. One that only
        # ca.crt holds may still be trusted by an API server that has not seen a damaged caBundle yet.
        nobody = self._leaf() is None and not any(each.valid_at(self.now.wall) for each in known)
        return MakeAuthority(kept, with_leaf=nobody, why=why)

    def _correct_ca_crt(self, signing: Certificate) -> PruneAuthorities | None:
        """Prune ca.crt. Until all is settled, CAs that this clock calls invalid stay in it, too."""
        settled = self._settled(signing)
        others = () if settled else (*self._issuer(), *_newest(self._held()))
        wanted = _first((signing, *others), MAX_AUTHORITIES)
        if self.state.secret.authorities == Bundle(wanted):
            return None
        return PruneAuthorities(wanted, "older CAs are no longer needed" if settled else "ca.crt is wrong")

    def _correct_ca_bundle(self, signing: Certificate) -> UpdateCaBundle | None:
        """Have every entry trust the CAs of ca.crt, and what it trusted before until all is settled."""
        others = () if self._settled(signing) else _newest(self.state.trusted)
        wanted = _first((signing, *self._held(), *others), MAX_AUTHORITIES)
        fingerprints = {each.fingerprint for each in wanted}
        wrong = sum(
            entry.trusted.damaged or entry.trusted.fingerprints != fingerprints
            for entry in self.state.entries
        )
        if not wrong:
            return None
        of = f"{wrong} of {len(self.state.entries)}"
        return UpdateCaBundle(wanted, f"caBundle is wrong in {of} entries")

    def _issue(self, signing: Certificate) -> IssueLeaf | Wait:
        leaf = self._leaf()
        if leaf is None:
            wait = self._until_trusted(signing, self.settings.api_propagation)
            return wait or IssueLeaf(signing, "the Secret holds no usable certificate")
        if leaf.issuer != signing:
            wait = self._until_trusted(signing, self._overlap(leaf))
            return wait or IssueLeaf(signing, "every API server trusts the new CA")
        if leaf.certificate.names != self.settings.names:
            return IssueLeaf(signing, "the certificate is for other names")
        if self.now.wall >= renewal(leaf.certificate, self.settings.certificate_lifetime):
            return IssueLeaf(signing, "the certificate has less than a third of its life left")
        return self._wait(signing, leaf)

    def _wait(self, signing: Certificate, leaf: Leaf) -> Wait:
        if not self._settled(signing):
            left = self.seen.leaf + self.settings.propagation - self.now.steady
            return Wait(left, "until every replica serves the certificate")
        renewals = (
            renewal(signing, self.settings.ca_lifetime),
            renewal(leaf.certificate, self.settings.certificate_lifetime),
        )
        return Wait(min(renewals) - self.now.wall, "until the next renewal")

    def _until_trusted(self, signing: Certificate, overlap: float) -> Wait | None:
        """Wait until every entry has trusted the CA for so long, or there was none: nobody calls then."""
        no_entries, trusted = self.seen.no_entries, self.seen.trusted
        since = trusted.get(signing.fingerprint, self.now.steady) if no_entries is None else no_entries
        left = since + overlap - self.now.steady
        return Wait(left, "until every API server trusts the new CA") if left > 0 else None

    def _overlap(self, leaf: Leaf) -> float:
        """Return how long both CAs are trusted: long for a planned change, unless the old leaf ends soon."""
        left = min(leaf.certificate.not_after, leaf.issuer.not_after) - self.now.wall
        planned = self.settings.propagation
        return planned if left > 2 * planned else self.settings.api_propagation

    def _settled(self, signing: Certificate) -> bool:
        """Return whether every replica serves the leaf in the Secret, and the signing CA has signed it."""
        leaf = self._leaf()
        return (
            leaf is not None
            and leaf.issuer == signing
            and self.seen.fingerprint == leaf.certificate.fingerprint
            and self.now.steady - self.seen.leaf >= self.settings.propagation
        )

    def _leaf(self) -> Leaf | None:
        """Return the Secret's leaf if it is valid now."""
        leaf = self.state.secret.leaf
        return leaf if leaf and leaf.valid_at(self.now.wall) else None

    def _issuer(self) -> tuple[Certificate, ...]:
        leaf = self.state.secret.leaf
        return (leaf.issuer,) if leaf else ()

    def _held(self) -> tuple[Certificate, ...]:
        return self.state.secret.authorities.certificates


def _newest(certificates: Iterable[Certificate]) -> list[Certificate]:
    return sorted(certificates, key=lambda each: (-each.not_before, each.fingerprint))


def _first(certificates: Iterable[Certificate], count: int) -> tuple[Certificate, ...]:
    return unique(certificates)[:count]
