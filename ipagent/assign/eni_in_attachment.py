"""An ENI as an object in a NodeAttachment: what EC2 has shown of it, for a program that can't ask EC2."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from ipaddress import ip_network
from typing import Any, TypeVar

from ipagent.assign.addresses import canonical_mac, parse_address
from ipagent.assign.topology import EniDetails
from ipagent.log import printable

MAX_HELD = 256
"""Addresses, or prefixes, of an ENI."""
MAX_TEXT = 1024
MAX_WORD = 64

Values = TypeVar("Values", bound=Sized)


def interface_object(eni: EniDetails) -> dict[str, Any]:
    """Return the ENI as an object; raises ValueError for more addresses or prefixes than MAX_HELD."""
    found = {
        "id": eni.eni_id,
        "mac": eni.mac,
        "subnet": eni.subnet_id,
        "vpc": eni.vpc_id,
        "instance": eni.instance_id,
        "device": eni.device_number,
        "card": eni.network_card,
        "type": eni.interface_type,
        "description": eni.description,
        "managed": eni.managed,
        "noManage": eni.no_manage,
        "ownerTag": eni.owner_tag,
        "detaching": eni.detaching,
        "primary": None if eni.primary is None else str(eni.primary),
        "primaryIPv6": None if eni.primary_ipv6 is None else str(eni.primary_ipv6),
        "secondaries": [str(each) for each in bound(eni.secondaries, MAX_HELD)],
        "prefixes": [str(each) for each in bound(eni.prefixes, MAX_HELD)],
    }
    # 0 is False, too, and the device index of an instance's primary interface.
    return {key: value for key, value in found.items() if value is not False and value not in (None, "", [])}


def read_interface(found: Mapping[str, Any]) -> EniDetails:
    """Read such an object; raises AttributeError, KeyError, TypeError or ValueError for anything else."""
    primary, primary_ipv6 = found.get("primary"), found.get("primaryIPv6")
    device = found.get("device")
    return EniDetails(
        as_text(found["id"]),
        parse_address(primary) if primary else None,
        tuple(map(parse_address, as_list(found.get("secondaries"))[:MAX_HELD])),
        parse_address(primary_ipv6) if primary_ipv6 else None,
        instance_id=as_text(found.get("instance")),
        device_number=None if device is None else int(device),
        description=printable(str(found.get("description") or ""))[:MAX_TEXT],
        managed=found.get("managed") is True,
        mac=canonical_mac(as_text(found.get("mac"))),
        subnet_id=as_text(found.get("subnet")),
        vpc_id=as_text(found.get("vpc")),
        no_manage=found.get("noManage") is True,
        prefixes=tuple(map(ip_network, as_list(found.get("prefixes"))[:MAX_HELD])),
        network_card=int(found.get("card") or 0),
        interface_type=as_text(found.get("type")) or "interface",
        owner_tag=printable(str(found.get("ownerTag") or ""))[:MAX_TEXT],
        detaching=found.get("detaching") is True,
    )


def bound(values: Values, limit: int) -> Values:
    """Return the values; raises ValueError if there are more than `limit`."""
    if len(values) > limit:
        raise ValueError(f"{len(values)} where at most {limit} fit")
    return values


def as_list(value: object) -> list[Any]:
    """Return a list, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return at most MAX_WORD characters of a text that is one line; else an empty one."""
    return value[:MAX_WORD] if isinstance(value, str) and value[:MAX_WORD].isprintable() else ""
