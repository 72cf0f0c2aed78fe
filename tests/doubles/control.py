"""The double's own endpoints beside EC2: state and journal to read, faults to put."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.cloud import BodyTooLargeError, Cloud, read_body
from tests.doubles.document import DocumentError, Node
from tests.doubles.faults import fault_document, read_faults
from tests.doubles.journal import Call
from tests.doubles.model import Instance, NetworkInterface, Subnet, World

MAX_BODY_BYTES = 1 << 20


def state_document(world: World, now: float) -> dict[str, object]:
    """Write a world as JSON values, without credentials; `imds` is what IMDS shows at this time."""
    return {
        "region": world.region,
        "account": world.account,
        "imds_delay_ms": round(world.imds_delay * 1000),
        "subnets": [_subnet(world, subnet) for subnet in world.subnets.values()],
        "instances": [_instance(world, instance) for instance in world.instances.values()],
        "interfaces": [_interface(world, interface, now) for interface in world.interfaces.values()],
    }


def call_document(call: Call) -> dict[str, object]:
    """Write a journal entry as JSON values."""
    return asdict(call)


def routes(cloud: Cloud) -> list[Route]:
    """Give the routes under `/_double/`."""

    async def state(_: Request) -> Response:
        return JSONResponse(state_document(cloud.world, cloud.clock.monotonic()))

    async def journal(_: Request) -> Response:
        return JSONResponse([call_document(call) for call in cloud.journal.calls()])

    async def faults(request: Request) -> Response:
        if request.method == "PUT":
            try:
                body = await read_body(request, MAX_BODY_BYTES)
                cloud.faults.put(read_faults(Node("faults", json.loads(body))))
            except BodyTooLargeError:
                return JSONResponse({"error": f"larger than {MAX_BODY_BYTES} bytes"}, 413)
            except (DocumentError, ValueError, RecursionError) as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"faults": [fault_document(fault) for fault in cloud.faults.all()]})

    return [
        Route("/_double/state", state, methods=["GET"]),
        Route("/_double/journal", journal, methods=["GET"]),
        Route("/_double/faults", faults, methods=["GET", "PUT"]),
    ]


def _subnet(world: World, subnet: Subnet) -> Mapping[str, object]:
    return {
        "id": subnet.id,
        "vpc": subnet.vpc,
        "az": subnet.az,
        "cidr": str(subnet.cidr),
        "ipv6_cidr": subnet.ipv6_cidr and str(subnet.ipv6_cidr),
        "free_addresses": world.free_address_count(subnet),
        "tags": dict(subnet.tags),
    }


def _instance(world: World, instance: Instance) -> Mapping[str, object]:
    return {
        "id": instance.id,
        "type": instance.type,
        "ipv4_per_interface": instance.ipv4_per_interface,
        "http_tokens": str(instance.http_tokens),
        "hop_limit": instance.hop_limit,
        "role": instance.role,
        "interfaces": [interface.id for interface in world.interfaces_of(instance.id)],
        "tags": dict(instance.tags),
    }


def _interface(world: World, interface: NetworkInterface, now: float) -> Mapping[str, object]:
    return {
        "id": interface.id,
        "mac": interface.mac,
        "instance": interface.instance,
        "device": interface.device,
        "network_card": interface.network_card or 0,
        "subnet": interface.subnet,
        "vpc": world.subnets[interface.subnet].vpc,
        "primary": str(interface.primary),
        "secondaries": [str(address) for address in interface.secondaries],
        "imds": [str(address) for address in interface.addresses_in_imds(now)],
        "tags": dict(interface.tags),
    }
