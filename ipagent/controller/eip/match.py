"""Matches Elastic IPs to claims. One that is tagged with an owner stays the owner's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ipagent.controller.eip.claims import PodClaim, not_granted
from ipagent.controller.model.condition import Condition, no, unknown
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG
from ipagent.controller.model.eips import KEPT_TAG, POD_TAG, ElasticIp, Grants
from ipagent.controller.model.node_network import Tags


@dataclass(slots=True)
class Matches:
    """By the identity of a claim: its EIP, or why it has none."""

    eips: dict[tuple[str, str], ElasticIp] = field(default_factory=dict)
    problems: dict[tuple[str, str], Condition] = field(default_factory=dict)


@dataclass(slots=True)
class _Market:
    """Who has which EIP so far."""

    eips: Mapping[str, ElasticIp]
    grants: Grants
    cluster: str
    living: frozenset[tuple[str, str]]
    matches: Matches = field(default_factory=Matches)
    taken: dict[str, PodClaim] = field(default_factory=dict)

    def give(self, claim: PodClaim, eip: ElasticIp) -> None:
        """Match a claim with an EIP."""
        self.matches.eips[claim.identity] = eip
        self.taken[eip.id] = claim

    def decided(self, claim: PodClaim) -> bool:
        """Whether a claim has an EIP, or is told why it has none."""
        return claim.identity in self.matches.eips or claim.identity in self.matches.problems

    def refuse(self, claim: PodClaim, condition: Condition) -> None:
        """Record why a claim has none."""
        self.matches.problems[claim.identity] = condition

    def owned(self, claim: PodClaim, eip: ElasticIp) -> bool:
        """Whether the EIP's tags name this claim."""
        return eip.tags.get(CLUSTER_TAG) == self.cluster and eip.owner == claim.identity

    def pool(self, claim: PodClaim) -> Tags:
        """Return the tags of a claim's pool."""
        return self.grants[claim.namespace].pools[claim.entry.pool]

    def fits(self, claim: PodClaim, eip: ElasticIp) -> bool:
        """Whether the claim may have this EIP."""
        if claim.entry.allocation:
            return eip.id == claim.entry.allocation and self.grants[claim.namespace].covers(eip)
        return eip.matches(self.pool(claim))


def match(claims: Iterable[PodClaim], eips: Mapping[str, ElasticIp], grants: Grants, cluster: str) -> Matches:
    """Match claims with EIPs: first those that are tagged already, then what is named, then what is free."""
    claims = tuple(claims)
    market = _Market(eips, grants, cluster, frozenset(claim.identity for claim in claims))
    for eip in sorted(eips.values(), key=lambda each: (not each.association, each.id)):
        owner = next(
            (claim for claim in claims if market.owned(claim, eip) and market.fits(claim, eip)), None
        )
        if owner is None or market.decided(owner):
            continue
        if not eip.foreign or eip.private == owner.private:
            market.give(owner, eip)
        elif owner.kept:
            market.refuse(owner, _elsewhere(eip))
    rest = [claim for claim in claims if not market.decided(claim)]
    for claim in rest:
        if claim.entry.allocation:
            _named(market, claim)
    for claim in rest:
        if claim.entry.pool:
            _pooled(market, claim)
    return market.matches


def _named(market: _Market, claim: PodClaim) -> None:
    eip = market.eips.get(claim.entry.allocation)
    if eip is None:
        text = f"{claim.entry.allocation} is not in this region: correct the annotation, or allocate it"
        market.refuse(claim, no("AllocationNotFound", text))
    elif not market.fits(claim, eip):
        market.refuse(claim, not_granted(claim.namespace, eip.id))
    elif (other := market.taken.get(eip.id)) is not None:
        market.refuse(claim, _held(eip, other))
    elif (problem := _problem(market, claim, eip)) is not None:
        market.refuse(claim, problem)
    else:
        market.give(claim, eip)


def _held(eip: ElasticIp, other: PodClaim) -> Condition:
    where = f" ({other.private})" if other.private else ""
    return no(
        "HeldByPod",
        f"{other.owner}{where} has {eip.id} ({eip.public}): delete that pod, or name another Elastic IP here",
    )


def _problem(market: _Market, claim: PodClaim, eip: ElasticIp) -> Condition | None:
    """Return why an EIP that no claim has can't be had now."""
    cluster, pod = eip.tags.get(CLUSTER_TAG, ""), eip.tags.get(POD_TAG, "")
    if pod and cluster != market.cluster:
        text = f"{eip.id} ({eip.public}) belongs to {pod} in cluster {cluster or '(none)'}: name another one"
        return no("HeldByCluster", text)
    if not eip.association or eip.private == claim.private:
        return None
    if eip.foreign:
        return _elsewhere(eip)
    text = f"{eip.id} ({eip.public}) belonged to {pod}, which is gone, and is being released"
    return unknown("BeingReleased", text)


def _elsewhere(eip: ElasticIp) -> Condition:
    where = f"{eip.eni or 'an instance'} ({eip.private})"
    text = (
        f"{eip.id} ({eip.public}) is associated with {where}, not by this controller: disassociate it there"
    )
    return no("HeldElsewhere", text)


def _pooled(market: _Market, claim: PodClaim) -> None:
    tags = market.pool(claim)
    pool = [eip for eip in market.eips.values() if eip.matches(tags)]
    free = sorted(eip.id for eip in pool if eip.id not in market.taken and is_free(eip))
    if free:
        market.give(claim, market.eips[free[0]])
    else:
        market.refuse(claim, _empty(market, claim, pool))


def is_free(eip: ElasticIp) -> bool:
    """Whether nobody has the EIP, and it is kept for nobody."""
    return not eip.association and not eip.tags.get(POD_TAG)


def _empty(market: _Market, claim: PodClaim, pool: list[ElasticIp]) -> Condition:
    wanted = ", ".join(f"{key}={value}" for key, value in market.pool(claim))
    name = claim.entry.pool
    if not pool:
        text = f"no Elastic IP has the tags of pool {name} ({wanted}): allocate one, and tag it"
        return no("PoolEmpty", text)
    kept = sorted(
        eip.tags[POD_TAG] for eip in pool if eip.tags.get(KEPT_TAG) == "true" and eip.id not in market.taken
    )
    some = f"; {len(kept)} kept for pods that are gone ({', '.join(kept[:3])}): " if kept else ": "
    free = f"delete the tag {POD_TAG} of one that is not needed, or " if kept else ""
    return no(
        "PoolEmpty",
        f"no Elastic IP of pool {name} is free, {len(pool)} have its tags{some}{free}"
        f"add one with the tags {wanted}",
    )
