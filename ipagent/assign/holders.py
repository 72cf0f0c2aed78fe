"""Owners of ENIs and holders of addresses, and whether an address may be taken over from its holder."""

from __future__ import annotations

from collections.abc import Iterable

from common.frozen_dataclass import replace
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.topology import EniDetails, slot

NO_MANAGE = "node.k8s.amazonaws.com/no_manage"
"""The tag that keeps the VPC CNI off an ENI (amazon-vpc-cni-k8s, pkg/ipamd, eniNoManageTagKey)."""

_EKS_OWNER = "eks:eni:owner"
OWNER_TAGS = (
    _EKS_OWNER,
    "node.k8s.amazonaws.com/instance_id",
    "node.k8s.amazonaws.com/createdAt",
    "cluster.k8s.amazonaws.com/name",
    "vpcresources.k8s.aws/trunk-eni-id",
    "vpcresources.k8s.aws/vlan-id",
    "io.cilium/cilium-managed",
    "calico:use",
    "calico:instance",
)
"""Tags of the VPC CNI (amazon-vpc-cni-k8s, pkg/awsutils), of the VPC resource controller
(amazon-vpc-resource-controller-k8s, pkg/config), of Cilium (Helm value eni.gcTags) and of Calico (felix/aws,
CalicoNetworkInterfaceTagUse), on what is theirs."""

_TAGGERS = {
    "vpcresources.k8s.aws/": "the VPC resource controller",
    "io.cilium/": "Cilium",
    "calico:": "Calico",
}

OWNER_DESCRIPTIONS = {"aws-k8s-": "the VPC CNI", "cilium-cni (": "Cilium"}
"""How CNIs begin descriptions, in lower case: aws-K8S-i-..., aws-k8s-trunk-eni, aws-k8s-branch-eni;
"Cilium-CNI (i-...)" (Cilium, `pkg/aws/eni`)."""


_NOT_FOR_TAKING = (
    "The agent takes no address off such an ENI, whatever takeover is set to: exclude the address from the "
    "network's range, and reserve that range in the subnet (aws ec2 create-subnet-cidr-reservation), so that "
    "EC2 gives its addresses to no other ENI."
)


_OF_ANOTHER_ACCOUNT = (
    "If an ENI has just given the address up, the next try succeeds. Else, in a subnet that another account "
    "shares, an ENI of another account may have it, which EC2 does not show: exclude the address from the "
    "network's range, and have the subnet's owner reserve that range there (aws ec2 "
    "create-subnet-cidr-reservation)."
)


def holder_of(address: IPAddress, eni_id: str, enis: Iterable[EniDetails]) -> EniDetails | None:
    """Return the ENI that holds the address; `eni_id` itself, should it be one of several."""
    holding = [eni for eni in enis if eni.holds(address)]
    return min(holding, key=lambda eni: (eni.eni_id != eni_id, eni.eni_id), default=None)


def held_elsewhere(address: IPAddress, holder: EniDetails, refusal: str = "") -> Failure:
    """Return the failure that names the other ENI; `refusal` is the text of EC2's, if it was asked."""
    primary, prefix = holder.holds_as_primary(address), holder.prefix_of(address)
    if prefix is None:
        text = f"it is a {'primary' if primary else 'secondary'} address of {name(holder)}"
    else:
        text = f"it lies in the prefix {prefix}, which is delegated to {name(holder)}"
    if reason := why_immovable(address, holder):
        text += f": {reason}"
    fault = Fault.IN_PREFIX if prefix else Fault.REFUSED if primary else Fault.HELD_ELSEWHERE
    remedy = _NOT_FOR_TAKING if reason and fault is Fault.HELD_ELSEWHERE else ""
    return Failure(fault, f"{text} ({refusal})" if refusal else text, final=True, remedy=remedy)


def held_by_nobody_seen(refusal: Failure) -> Failure:
    """Return EC2's refusal of an address that another ENI has, where EC2 shows it on none: it is tried again.

    An ENI may just have given it up. In a subnet that another account shares, EC2 shows the ENIs of the
    caller's account alone ("Share your VPC subnets", VPC user guide).
    """
    text = f"{refusal.text}; EC2 shows no ENI that has it"
    return replace(refusal, fault=Fault.CONTENDED, text=text, remedy=_OF_ANOTHER_ACCOUNT)


def why_immovable(address: IPAddress, holder: EniDetails) -> str:
    """Say why the address must never be taken off the ENI that holds it; empty if it may be."""
    if holder.holds_as_primary(address):
        return "a primary address can't be taken off"
    if holder.prefix_of(address):
        return "EC2 moves prefixes as a whole, and never single addresses of one"
    if holder.is_primary:
        return "device number 0 belongs to the VPC CNI"
    if owner := owner_of(holder):
        return f"that ENI {owner}"
    return ""


def owner_of(eni: EniDetails) -> str:
    """Say, after "which", to whom an ENI belongs that nobody gave us; empty if nothing speaks against it.

    By what EC2 itself says (the type, the service), then by owner tags, then by descriptions. The tag
    `NO_MANAGE` comes before the last two: it takes an ENI away from the VPC CNI.
    """
    if eni.managed:
        return "belongs to an AWS service"
    if eni.interface_type != "interface":
        return f"is of the type {eni.interface_type}, and not an interface for secondary addresses"
    if eni.no_manage:
        return ""
    if eni.owner_tag:
        return f"belongs to {_owner_by_tag(eni.owner_tag)}, as its tag {eni.owner_tag} says"
    for beginning, owner in OWNER_DESCRIPTIONS.items():
        if eni.description.lower().startswith(beginning):
            return f'was made by {owner}, as its description "{eni.description}" says'
    return ""


def _owner_by_tag(tag: str) -> str:
    key, _, value = tag.partition("=")
    if key == _EKS_OWNER and value not in ("", "amazon-vpc-cni"):
        return value
    return next((owner for group, owner in _TAGGERS.items() if key.startswith(group)), "the VPC CNI")


def why_not_ours(eni: EniDetails, *, require_tag: bool = True) -> str:
    """Say, after "which", why an ENI must not be given addresses; empty if it may, or is the primary one.

    With `require_tag` an ENI also needs the tag `NO_MANAGE`.
    """
    if eni.is_primary:
        return ""
    if owner := owner_of(eni):
        return f"{owner}: attach an ENI of your own for the network"
    if require_tag and not eni.no_manage:
        return (
            f"lacks the tag {NO_MANAGE}=true, so that the VPC CNI would take its addresses for its own pods: "
            f"tag it (aws ec2 create-tags --resources {eni.eni_id} --tags Key={NO_MANAGE},Value=true)"
        )
    return ""


def name(eni: EniDetails) -> str:
    """Name the ENI with what helps to find whose it is."""
    there = f"{slot(eni.network_card, eni.device_number)} of {eni.instance_id}"
    where = there if eni.instance_id else "not attached"
    described = f', described as "{eni.description}"' if eni.description else ""
    return f"{eni.eni_id} ({where}{described})"
