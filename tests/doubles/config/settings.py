"""What of a world is a matter of how the double behaves: delays and request limits, also while it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace

from tests.doubles.config.document import Node
from tests.doubles.ec2.actions import ACTIONS
from tests.doubles.ec2.throttling import Limit
from tests.doubles.state.identifiers import INTERFACE, VPC
from tests.doubles.state.model import MetadataView, World

MAX_DELAY_MS = 3_600_000
NAMES = (
    "imds_delay_ms",
    "imds",
    "attach_delay_ms",
    "describe_delay_ms",
    "throttling",
    "limits",
    "elastic_ip_quota",
    "internet_gateways",
)


def with_settings(world: World, keys: Mapping[str, Node]) -> World:
    """Return the world with the settings among these keys; raises DocumentError that names the key."""
    throttling = world.throttling
    if "throttling" in keys:
        node = keys["throttling"]
        # YAML 1.1 reads off without quotes as false.
        enabled = node.value is not False and node.choice(("off", "ec2")) == "ec2"
        throttling = replace(throttling, enabled=enabled)
    if "limits" in keys:
        throttling = replace(throttling, own=_limits(keys["limits"]))
    return replace(
        world,
        imds_delay=_seconds(keys, "imds_delay_ms", world.imds_delay),
        imds=_metadata_views(keys["imds"]) if "imds" in keys else world.imds,
        attach_delay=_seconds(keys, "attach_delay_ms", world.attach_delay),
        describe_delay=_seconds(keys, "describe_delay_ms", world.describe_delay),
        throttling=throttling,
        elastic_ip_quota=(
            keys["elastic_ip_quota"].integer(0, 1_000_000)
            if "elastic_ip_quota" in keys
            else world.elastic_ip_quota
        ),
        internet_gateways=(
            frozenset(each.text(VPC.pattern) for each in keys["internet_gateways"].items())
            if "internet_gateways" in keys
            else world.internet_gateways
        ),
    )


def settings_document(world: World) -> dict[str, object]:
    """Write a world's settings as they are read."""
    return {
        "imds_delay_ms": round(world.imds_delay * 1000),
        "imds": {eni: _view_document(view) for eni, view in world.imds.items()},
        "attach_delay_ms": round(world.attach_delay * 1000),
        "describe_delay_ms": round(world.describe_delay * 1000),
        "throttling": "ec2" if world.throttling.enabled else "off",
        "limits": {action: asdict(limit) for action, limit in world.throttling.own.items()},
        "elastic_ip_quota": world.elastic_ip_quota,
        "internet_gateways": sorted(
            {each.vpc for each in world.subnets.values()}
            if world.internet_gateways is None
            else world.internet_gateways
        ),
    }


def _seconds(keys: Mapping[str, Node], key: str, before: float) -> float:
    return keys[key].integer(0, MAX_DELAY_MS) / 1000 if key in keys else before


def _metadata_views(node: Node) -> dict[str, MetadataView]:
    known = node.value if isinstance(node.value, dict) else {}
    views: dict[str, MetadataView] = {}
    for eni, item in node.mapping(optional=known).items():
        if not re.fullmatch(INTERFACE.pattern, str(eni)):
            item.refuse(f"the key must be {INTERFACE.prefix} and 8 or 17 hexadecimal digits")
        keys = item.mapping(optional=("delay_ms", "hidden"))
        hidden = keys["hidden"].items() if "hidden" in keys else []
        delay = _seconds(keys, "delay_ms", 0.0) if "delay_ms" in keys else None
        views[eni] = MetadataView(delay, frozenset(name.text() for name in hidden))
    return views


def _view_document(view: MetadataView) -> dict[str, object]:
    delay = {} if view.delay is None else {"delay_ms": round(view.delay * 1000)}
    return {**delay, "hidden": sorted(view.hidden)}


def _limits(node: Node) -> dict[str, Limit]:
    limits: dict[str, Limit] = {}
    for action, item in node.mapping(optional=ACTIONS).items():
        keys = item.mapping(required=("size", "refill"))
        limits[action] = Limit(keys["size"].integer(1, 1_000_000), keys["refill"].integer(0, 1_000_000))
    return limits
