"""Matches Elastic IPs to claims. One that is tagged with an owner stays the owner's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ipagent.controller.eip.claims import Want, not_granted
from ipagent.controller.model.condition import Condition, no, unknown
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG
from ipagent.controller.model.eips import KEPT_TAG, POD_TAG, ElasticIp, Grants
from ipagent.controller.model.node_network import Tags


@dataclass(slots=True)
class Matches:
    """By the identity of a want: its EIP, or why it has none."""

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
    taken: dict[str, Want] = field(default_factory=dict)

    def give(self, want: Want, eip: ElasticIp) -> None:
        """Match a want with an EIP."""
        self.matches.eips[want.identity] = eip
        self.taken[eip.id] = want

    def decided(self, want: Want) -> bool:
        """Whether a want has an EIP, or is told why it has none."""
        return want.identity in self.matches.eips or want.identity in self.matches.problems

    def refuse(self, want: Want, condition: Condition) -> None:
        """Record why a want has none."""
        self.matches.problems[want.identity] = condition

    def owned(self, want: Want, eip: ElasticIp) -> bool:
        """Whether the EIP's tags name this want."""
        return eip.tags.get(CLUSTER_TAG) == self.cluster and eip.owner == want.identity

    def pool(self, want: Want) -> Tags:
        """Return the tags of a want's pool."""
        return self.grants[want.namespace].pools[want.claim.pool]

    def fits(self, want: Want, eip: ElasticIp) -> bool:
        """Whether the want may have this EIP."""
        if want.claim.allocation:
            return eip.id == want.claim.allocation and self.grants[want.namespace].covers(eip)
        return eip.matches(self.pool(want))


def match(wants: Iterable[Want], eips: Mapping[str, ElasticIp], grants: Grants, cluster: str) -> Matches:
    """Match wants with EIPs: first those that are tagged already, then what is named, then what is free."""
    wants = tuple(wants)
    market = _Market(eips, grants, cluster, frozenset(want.identity for want in wants))
    for eip in sorted(eips.values(), key=lambda each: (not each.association, each.id)):
        owner = next((want for want in wants if market.owned(want, eip) and market.fits(want, eip)), None)
        if owner is None or market.decided(owner):
            continue
        if not eip.foreign or eip.private == owner.private:
            market.give(owner, eip)
        elif owner.kept:
            market.refuse(owner, _elsewhere(eip))
    rest = [want for want in wants if not market.decided(want)]
    for want in rest:
        if want.claim.allocation:
            _named(market, want)
    for want in rest:
        if want.claim.pool:
            _pooled(market, want)
    return market.matches


def _named(market: _Market, want: Want) -> None:
    eip = market.eips.get(want.claim.allocation)
    if eip is None:
        text = f"{want.claim.allocation} is not in this region: correct the annotation, or allocate it"
        market.refuse(want, no("AllocationNotFound", text))
    elif not market.fits(want, eip):
        market.refuse(want, not_granted(want.namespace, eip.id))
    elif (other := market.taken.get(eip.id)) is not None:
        market.refuse(want, _held(eip, other))
    elif (problem := _problem(market, want, eip)) is not None:
        market.refuse(want, problem)
    else:
        market.give(want, eip)


def _held(eip: ElasticIp, other: Want) -> Condition:
    where = f" ({other.private})" if other.private else ""
    return no(
        "HeldByPod",
        f"{other.owner}{where} has {eip.id} ({eip.public}): delete that pod, or name another Elastic IP here",
    )


def _problem(market: _Market, want: Want, eip: ElasticIp) -> Condition | None:
    """Return why an EIP that no want has can't be had now."""
    cluster, pod = eip.tags.get(CLUSTER_TAG, ""), eip.tags.get(POD_TAG, "")
    if pod and cluster != market.cluster:
        text = f"{eip.id} ({eip.public}) belongs to {pod} in cluster {cluster or '(none)'}: name another one"
        return no("HeldByCluster", text)
    if not eip.association or eip.private == want.private:
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


def _pooled(market: _Market, want: Want) -> None:
    tags = market.pool(want)
    pool = [eip for eip in market.eips.values() if eip.matches(tags)]
    free = sorted(eip.id for eip in pool if eip.id not in market.taken and is_free(eip))
    if free:
        market.give(want, market.eips[free[0]])
    else:
        market.refuse(want, _empty(market, want, pool))


def is_free(eip: ElasticIp) -> bool:
    """Whether nobody has the EIP, and it is kept for nobody."""
    return not eip.association and not eip.tags.get(POD_TAG)


def _empty(market: _Market, want: Want, pool: list[ElasticIp]) -> Condition:
    wanted = ", ".join(f"{key}={value}" for key, value in market.pool(want))
    name = want.claim.pool
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
