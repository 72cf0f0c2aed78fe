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
class Want:
    """An Elastic IP that a pod wants, or several pods for an address that moves between them.

    `owner` is the value of POD_TAG; `private` is empty as long as the address is not known.
    """

    namespace: str
    owner: str
    claim: EipClaim
    pods: tuple[str, ...]
    nodes: frozenset[str]
    private: str
    kept: bool
    created: str

    @property
    def identity(self) -> tuple[str, str]:
        """What the EIP's tags say of it."""
        return self.owner, self.claim.target

    @property
    def order(self) -> tuple[str, str, str]:
        """The eldest first."""
        return self.created, self.owner, self.claim.target


@dataclass(slots=True)
class Wants:
    """Those that may be met, and the refusals of the others."""

    wants: tuple[Want, ...] = ()
    refused: dict[Who, Condition] = field(default_factory=dict)


def read_wants(pods: Mapping[str, EipPod], grants: Grants, known: Known) -> Wants:
    """Return what the living pods want."""
    found = Wants()
    merged: dict[tuple[str, EipClaim], Want] = {}
    for want in sorted(_wants(pods, grants, known, found.refused), key=lambda each: each.order):
        key = (want.owner, want.claim)
        before = merged.get(key)
        merged[key] = want if before is None else _joined(before, want)
    holders: dict[str, Want] = {}
    wants = []
    for want in sorted(merged.values(), key=lambda each: each.order):
        other = holders.setdefault(want.private, want) if want.private else want
        if other is want:
            wants.append(want)
            continue
        text = (
            f"{want.private} gets {other.claim.wanted} for {other.owner} already: claim one Elastic IP for it"
        )
        found.refused |= {(pod, want.claim.target): no("AddressTaken", text) for pod in want.pods}
    found.wants = tuple(wants)
    return found


def _joined(one: Want, other: Want) -> Want:
    return replace(one, pods=(*one.pods, *other.pods), nodes=one.nodes | other.nodes)


def _wants(
    pods: Mapping[str, EipPod], grants: Grants, known: Known, refused: dict[Who, Condition]
) -> Iterator[Want]:
    for key, pod in pods.items():
        if pod.ended:
            continue
        if pod.problem:
            text = f"{pod_keys.EIP} can't be read: {pod.problem}: correct the annotation"
            refused[key, ""] = no("InvalidAnnotation", text)
        for claim in pod.claims:
            refusal = _refusal(pod.namespace, claim, grants.get(pod.namespace, Grant()))
            if refusal is not None:
                refused[key, claim.target] = refusal
            elif not _proven(pod, claim, known):
                refused[key, claim.target] = _NOT_PROVEN
            else:
                yield _want(pod, claim)


def _proven(pod: EipPod, claim: EipClaim, known: Known) -> bool:
    """Whether the address of a claim is the pod's: by Multus, or since it was when the EIP was tagged.

    The API server forgets who wrote what of an object that has more than ten managers.
    """
    stated = pod.addresses.get(claim.target)
    identity = (owner_tag(pod.namespace, pod.name), claim.target)
    return bool(pod.proven or claim.address or not stated or stated in known.get(identity, ()))


_NOT_PROVEN = no(
    "AddressNotProven",
    "the pod's network-status was not written through its subresource status, as Multus does: see who has "
    "written it, and delete the pod",
)


def _want(pod: EipPod, claim: EipClaim) -> Want:
    return Want(
        namespace=pod.namespace,
        owner=owner_tag(pod.namespace, claim.address or pod.name),
        claim=claim,
        pods=(pod.key,),
        nodes=frozenset({pod.node}) if pod.node else frozenset(),
        private=claim.address or pod.addresses.get(claim.target, ""),
        kept=pod.kept or bool(claim.address),
        created=pod.created,
    )


def _refusal(namespace: str, claim: EipClaim, grant: Grant) -> Condition | None:
    value = f"controller.eips.{namespace}"
    if claim.pool and claim.pool not in grant.pools:
        others = f", or use one of {', '.join(sorted(grant.pools))}" if grant.pools else ""
        return no(
            "NotGranted",
            f"namespace {namespace} has no pool {claim.pool}: add {value}.pools.{claim.pool} to the chart's "
            f"values{others}",
        )
    if claim.allocation and not grant.pools and claim.allocation not in grant.allocations:
        return not_granted(namespace, claim.allocation)
    if claim.address and not grant.allows(claim.address):
        return no(
            "NotGranted",
            f"pods of namespace {namespace} may not name {claim.address}: add its range to {value}.cidrs in "
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
