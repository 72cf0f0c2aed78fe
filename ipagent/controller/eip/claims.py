"""Claims of pods: one entry for each Elastic IP, with the refusals that need no state of EC2."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from common import pod_keys
from common.elastic_ips import EipClaim
from ipagent.controller.model.condition import Condition, no
from ipagent.controller.model.eips import EipPod, Grant, Grants, owner_tag

Known = Mapping[tuple[str, str], Collection[str]]
"""By pod and target, as tags name them: the private addresses that were associated for it."""
Who = tuple[str, str]
"""A pod's key, and the target of one of its claims."""


@dataclass(frozen=True, slots=True)
class PodClaim:
    """An Elastic IP that a pod claims, or several pods for an address that moves between them.

    `entry` is that of the annotation, `owner` the value of POD_TAG; `private` is empty as long as the address
    is not known.
    """

    namespace: str
    owner: str
    entry: EipClaim
    pods: tuple[str, ...]
    nodes: frozenset[str]
    private: str
    kept: bool
    created: str

    @property
    def identity(self) -> tuple[str, str]:
        """What the EIP's tags say of it."""
        return self.owner, self.entry.target

    @property
    def order(self) -> tuple[str, str, str]:
        """The eldest first."""
        return self.created, self.owner, self.entry.target


@dataclass(slots=True)
class PodClaims:
    """Those that may be met, and the refusals of the others."""

    claims: tuple[PodClaim, ...] = ()
    refused: dict[Who, Condition] = field(default_factory=dict)


def read_claims(pods: Mapping[str, EipPod], grants: Grants, known: Known) -> PodClaims:
    """Return what the living pods claim."""
    found = PodClaims()
    merged: dict[tuple[str, EipClaim], PodClaim] = {}
    for claim in sorted(_claims(pods, grants, known, found.refused), key=lambda each: each.order):
        key = (claim.owner, claim.entry)
        before = merged.get(key)
        merged[key] = claim if before is None else _joined(before, claim)
    holders: dict[str, PodClaim] = {}
    claims = []
    for claim in sorted(merged.values(), key=lambda each: each.order):
        other = holders.setdefault(claim.private, claim) if claim.private else claim
        if other is claim:
            claims.append(claim)
            continue
        rival = f"{other.entry.wanted} for {other.owner}"
        text = f"{claim.private} already gets {rival}: claim only one Elastic IP for it"
        found.refused |= {(pod, claim.entry.target): no("AddressTaken", text) for pod in claim.pods}
    found.claims = tuple(claims)
    return found


def _joined(one: PodClaim, other: PodClaim) -> PodClaim:
    return replace(one, pods=(*one.pods, *other.pods), nodes=one.nodes | other.nodes)


def _claims(
    pods: Mapping[str, EipPod], grants: Grants, known: Known, refused: dict[Who, Condition]
) -> Iterator[PodClaim]:
    for key, pod in pods.items():
        if pod.ended:
            continue
        if pod.problem:
            text = f"{pod_keys.EIP} can't be read: {pod.problem}: correct the annotation"
            refused[key, ""] = no("InvalidAnnotation", text)
        for entry in pod.claims:
            refusal = _refusal(pod.namespace, entry, grants.get(pod.namespace, Grant()))
            if refusal is not None:
                refused[key, entry.target] = refusal
            elif not _proven(pod, entry, known):
                refused[key, entry.target] = _NOT_PROVEN
            else:
                yield _pod_claim(pod, entry)


def _proven(pod: EipPod, entry: EipClaim, known: Known) -> bool:
    """Whether the address of a claim is the pod's: by Multus, or since it was when the EIP was tagged.

    The API server forgets who wrote what of an object that has more than ten managers.
    """
    stated = pod.addresses.get(entry.target)
    identity = (owner_tag(pod.namespace, pod.name), entry.target)
    return bool(pod.proven or entry.address or not stated or stated in known.get(identity, ()))


_NOT_PROVEN = no(
    "AddressNotProven",
    "the pod's network-status was not written through its subresource status, as Multus does: see who has "
    "written it, and delete the pod",
)


def _pod_claim(pod: EipPod, entry: EipClaim) -> PodClaim:
    return PodClaim(
        namespace=pod.namespace,
        owner=owner_tag(pod.namespace, entry.address or pod.name),
        entry=entry,
        pods=(pod.key,),
        nodes=frozenset({pod.node}) if pod.node else frozenset(),
        private=entry.address or pod.addresses.get(entry.target, ""),
        kept=pod.kept or bool(entry.address),
        created=pod.created,
    )


def _refusal(namespace: str, entry: EipClaim, grant: Grant) -> Condition | None:
    value = f"controller.eips.{namespace}"
    if entry.pool and entry.pool not in grant.pools:
        others = f", or use one of {', '.join(sorted(grant.pools))}" if grant.pools else ""
        return no(
            "NotGranted",
            f"namespace {namespace} has no pool {entry.pool}: add {value}.pools.{entry.pool} to the chart's "
            f"values{others}",
        )
    if entry.allocation and not grant.pools and entry.allocation not in grant.allocations:
        return not_granted(namespace, entry.allocation)
    if entry.address and not grant.allows(entry.address):
        return no(
            "NotGranted",
            f"pods of namespace {namespace} may not name {entry.address}: add its range to {value}.cidrs in "
            "the chart's values",
        )
    return None


def not_granted(namespace: str, allocation: str) -> Condition:
    """Return the refusal of an EIP that the namespace may not have."""
    return no(
        "NotGranted",
        f"namespace {namespace} may not have {allocation}: add it to controller.eips.{namespace}.allocations "
        "in the chart's values",
    )
