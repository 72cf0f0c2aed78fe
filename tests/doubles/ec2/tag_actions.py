"""The actions that set and delete tags."""

from __future__ import annotations

from tests.doubles.ec2 import errors
from tests.doubles.ec2.parameters import Outcome, read_tags, refuse_dry_run
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state import resource_tags
from tests.doubles.state.model import World


def create_tags(world: World, parameters: Parameters, now: float) -> Outcome:
    """CreateTags."""
    resources = _resources(parameters)
    tags = read_tags(parameters)
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    if not tags:
        raise errors.missing_parameter("Tag")
    world = resource_tags.create_tags(world, resources, tags, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}


def delete_tags(world: World, parameters: Parameters, now: float) -> Outcome:
    """DeleteTags: without tags all of them, without a value those of any value."""
    resources = _resources(parameters)
    tags: dict[str, str | None] = {}
    for part in parameters.parts("Tag"):
        key = part.require("Key")
        tags[key] = part.take("Value")
        part.finish()
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world = resource_tags.delete_tags(world, resources, tags or None, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}


def _resources(parameters: Parameters) -> tuple[str, ...]:
    resources = parameters.listing("ResourceId")
    if not resources:
        raise errors.missing_parameter("ResourceId")
    return resources
