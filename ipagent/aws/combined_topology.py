"""What IMDS shows of a node's ENIs and what EC2 says of them, as one topology. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from common.frozen_dataclass import replace
from ipagent.assign.holders import name, why_not_ours
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.aws.aws_access import Cidrs
from ipagent.aws.describe_enis import as_eni


def with_ranges(eni: Eni, known: Cidrs) -> Eni:
    """Return it with EC2's word on the ranges of its subnet, as far as EC2 has told."""
    ranges = known.get(eni.subnet_id)
    return eni if ranges is None else replace(eni, subnet_cidrs=ranges, ranges_by_ec2=True)


def corrected_by_ec2(shown: Topology, macs: Collection[str], found: Sequence[EniDetails]) -> Topology:
    """Return what IMDS shows, with EC2's word on the ENIs that have these MACs."""
    here = {each.mac: each for each in found if not each.why_not_here}
    elsewhere = {each.mac: f"{each.eni_id}, which is {each.why_not_here}" for each in found}
    enis: list[Eni] = []
    absent = dict(shown.absent)
    for eni in shown.enis:
        if eni.mac not in macs:
            enis.append(eni)
        elif each := here.get(eni.mac):
            barred = why_not_ours(each, require_tag=False)
            enis.append(replace(as_eni(each, eni.subnet_cidrs, barred), ranges_by_ec2=eni.ranges_by_ec2))
        else:
            absent[eni.mac] = elsewhere.get(eni.mac, f"{eni.id}, which EC2 does not show")
    return replace(shown, enis=tuple(enis), absent=absent)


def merged(
    shown: Topology, attached: Sequence[EniDetails], others: Sequence[EniDetails], known: Cidrs
) -> Topology:
    """Combine what IMDS shows with EC2's word: the ENIs attached to this instance, and `others` by MAC.

    Ranges come from IMDS: they don't change, and the agent needs no right to describe subnets. `known` are
    those that EC2 has told where IMDS has not.
    """
    ranged = [eni for eni in shown.enis if eni.subnet_cidrs]
    # By MAC, too: IMDS may show the range of an ENI before the id of its subnet.
    subnets = {each.mac: each.subnet_id for each in attached}
    ranges = {**known, **{subnets.get(eni.mac, eni.subnet_id): eni.subnet_cidrs for eni in ranged}}
    # What is being detached can carry nothing any more; an interface in the pod that has its MAC waits.
    here = [each for each in attached if not each.detaching]
    enis = tuple(
        as_eni(each, ranges.get(each.subnet_id, ()), why_not_ours(each, require_tag=False)) for each in here
    )
    macs = {each.mac for each in attached}
    absent = {
        eni.mac: f"{eni.id}, which EC2 does not show on this instance"
        for eni in shown.enis
        if eni.mac not in macs
    }
    for each in (*others, *attached):
        if each not in here:
            absent[each.mac] = f"{name(each)}, which is not attached to this instance"
    unranged = tuple(eni.id for eni in enis if eni.usable and not eni.subnet_cidrs)
    return Topology(enis, absent=absent, unranged=unranged)
