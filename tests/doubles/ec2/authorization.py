"""What a call needs the right to: actions on resources, each with its condition keys.

Source: "Actions, resources, and condition keys for Amazon EC2" in the Service Authorization Reference. A call
needs every one of them. A resource that does not exist has no tags: EC2 looks at rights first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.doubles.ec2.describe_network import groups_of
from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.ec2.iam import AccessKey, Asked
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state.model import World
from tests.doubles.state.resource_tags import kind_of

Context = dict[str, tuple[str, ...]]


def denied(world: World, key: AccessKey, action: str, parameters: Parameters) -> Asked | None:
    """Return the first thing that a call needs and its caller may not do."""
    return next((asked for asked in _asked(world, action, parameters) if not key.allows(asked)), None)


def _asked(world: World, action: str, parameters: Parameters) -> Iterator[Asked]:
    sent = parameters.sent
    if action == "CreateNetworkInterface":
        yield from _creation(world, sent)
        return
    if action == "AllocateAddress":
        yield from _allocation(world, sent)
        return
    identifiers = _resources(world, action, sent)
    if not identifiers:
        yield Asked(action, "*")
    tags = _request_tags(sent, "Tag.") if action in ("CreateTags", "DeleteTags") else {}
    for identifier in identifiers:
        yield Asked(action, _arn(world, identifier), {**_context(world, identifier), **tags})


def _creation(world: World, sent: Mapping[str, str]) -> Iterator[Asked]:
    action = "CreateNetworkInterface"
    tags = _specified_tags(sent)
    subnet = sent.get("SubnetId", "")
    new = f"arn:aws:ec2:{world.region}:{world.account}:network-interface/*"
    place = _place(world, subnet)
    yield Asked(action, new, {**place, **tags})
    yield Asked(action, _arn(world, subnet), _context(world, subnet))
    for group in _listed(sent, "SecurityGroupId."):
        yield Asked(action, _arn(world, group), _context(world, group))
    if tags:
        yield Asked("CreateTags", new, {**tags, "ec2:createaction": (action,)})


def _allocation(world: World, sent: Mapping[str, str]) -> Iterator[Asked]:
    action, tags = "AllocateAddress", _specified_tags(sent)
    new = f"arn:aws:ec2:{world.region}:{world.account}:elastic-ip/*"
    yield Asked(action, new, tags)
    if tags:
        yield Asked("CreateTags", new, {**tags, "ec2:createaction": (action,)})


def _specified_tags(sent: Mapping[str, str]) -> Context:
    tags: Context = {}
    for prefix in {name.split(".Tag.")[0] for name in sent if name.startswith("TagSpecification.")}:
        tags |= _request_tags(sent, f"{prefix}.Tag.")
    return tags


def _resources(world: World, action: str, sent: Mapping[str, str]) -> list[str]:
    named = [sent[name] for name in ("NetworkInterfaceId", "InstanceId") if name in sent]
    attachment = sent.get("AttachmentId") or sent.get("Attachment.AttachmentId")
    if attachment and action in ("DetachNetworkInterface", "ModifyNetworkInterfaceAttribute"):
        for interface in world.interfaces.values():
            if interface.attachment and interface.attachment.id == attachment:
                named += [interface.id] * (interface.id not in named) + [interface.attachment.instance]
    if "AllocationId" in sent:
        named.insert(0, sent["AllocationId"])
    if association := sent.get("AssociationId"):
        for interface in world.interfaces.values():
            for each in interface.associations:
                named += [each.allocation, interface.id] if each.id == association else []
    groups = _listed(sent, "SecurityGroupId.") if action.startswith("Modify") else []
    tagged = _listed(sent, "ResourceId.") if action in ("CreateTags", "DeleteTags") else []
    return [] if action.startswith("Describe") else [*named, *groups, *tagged]


def _arn(world: World, identifier: str) -> str:
    try:
        kind = kind_of(identifier)
    except Ec2Error:
        return "*"
    subnet = world.subnets.get(identifier)
    owner = subnet.owner if subnet else ""
    return f"arn:aws:ec2:{world.region}:{owner or world.account}:{kind}/{identifier}"


def _context(world: World, identifier: str) -> Context:
    found = world.resource(identifier)
    if found is None:
        return {}
    tags: Context = {
        f"{prefix}:resourcetag/{key.lower()}": (value,)
        for key, value in found.tags.items()
        for prefix in ("aws", "ec2")
    }
    if interface := world.interfaces.get(identifier):
        tags |= _place(world, interface.subnet)
        tags["ec2:securitygroup"] = tuple(_arn(world, group) for group in groups_of(world, interface))
    elif subnet := world.subnets.get(identifier):
        tags |= {"ec2:vpc": (_vpc(world, subnet.vpc),), "ec2:availabilityzone": (subnet.az,)}
    elif group := world.groups.get(identifier):
        tags |= {"ec2:vpc": (_vpc(world, group.vpc),)}
    return {**tags, "aws:requestedregion": (world.region,), "ec2:region": (world.region,)}


def _place(world: World, subnet_id: str) -> Context:
    subnet = world.subnets.get(subnet_id)
    if subnet is None:
        return {}
    return {
        "ec2:subnet": (_arn(world, subnet_id),),
        "ec2:vpc": (_vpc(world, subnet.vpc),),
        "ec2:availabilityzone": (subnet.az,),
        "ec2:region": (world.region,),
        "aws:requestedregion": (world.region,),
    }


def _vpc(world: World, vpc: str) -> str:
    # A shared VPC has its owner's account in its ARN ("Share your VPC subnets", VPC user guide).
    owner = next((each.owner for each in world.subnets.values() if each.vpc == vpc), "")
    return f"arn:aws:ec2:{world.region}:{owner or world.account}:vpc/{vpc}"


def _request_tags(sent: Mapping[str, str], prefix: str) -> Context:
    pairs = {
        sent[name]: sent.get(name.removesuffix(".Key") + ".Value", "")
        for name in sent
        if name.startswith(prefix) and name.endswith(".Key")
    }
    tags: Context = {f"aws:requesttag/{key.lower()}": (value,) for key, value in pairs.items()}
    return {**tags, "aws:tagkeys": tuple(pairs)} if pairs else {}


def _listed(sent: Mapping[str, str], prefix: str) -> list[str]:
    return [value for name, value in sent.items() if name.startswith(prefix)]
