"""The double's own endpoints beside EC2: state and journal to read, faults, settings and clock to change."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.clock import ManualClock
from tests.doubles.cloud import BodyTooLargeError, Cloud, read_body
from tests.doubles.config.document import DocumentError, Node
from tests.doubles.config.settings import NAMES, settings_document, with_settings
from tests.doubles.control.fault_json import fault_document, read_faults
from tests.doubles.ec2.describe_network import groups_of
from tests.doubles.journal import Call
from tests.doubles.state.elastic_ips import held_by
from tests.doubles.state.model import World
from tests.doubles.state.network_interfaces import set_instance_state
from tests.doubles.state.resources import ElasticIp, Instance, InstanceState, NetworkInterface, Subnet

MAX_BODY_BYTES = 1 << 20
MAX_ADVANCE_MS = 86_400_000


class _Json(JSONResponse):
    """JSON that ends its line, for terminals."""

    def render(self, content: object) -> bytes:
        return super().render(content) + b"\n"


def state_document(world: World, now: float) -> dict[str, object]:
    """Write a world as JSON values, without credentials; `imds…` is what IMDS shows at this time."""
    shown = {key: card for key, card in world.in_imds(now).interfaces.items() if card.in_guest}
    return {
        "region": world.region,
        "account": world.account,
        **settings_document(world),
        "subnets": [_subnet(world, subnet) for subnet in world.subnets.values()],
        "instances": [_instance(world, instance) for instance in world.instances.values()],
        "interfaces": [
            _interface(world, interface, shown.get(interface.id)) for interface in world.interfaces.values()
        ],
        "elastic_ips": [_elastic_ip(world, each) for each in world.elastic_ips.values()],
    }


def call_document(call: Call) -> dict[str, object]:
    """Write a journal entry as JSON values."""
    return asdict(call)


class Control:
    """The endpoints under `/_double/`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/_double/state", self._state, methods=["GET"]),
            Route("/_double/journal", self._journal, methods=["GET", "DELETE"]),
            Route("/_double/faults", _strict(self._faults), methods=["GET", "PUT"]),
            Route("/_double/settings", _strict(self._settings), methods=["GET", "PATCH"]),
            Route("/_double/instances/{id}", _strict(self._instance), methods=["PATCH"]),
            Route("/_double/clock", _strict(self._clock), methods=["GET", "POST"]),
        ]

    async def _state(self, _: Request) -> Response:
        return _Json(state_document(self._cloud.world, self._cloud.clock.monotonic()))

    async def _journal(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._cloud.journal.clear()
        action = request.query_params.get("action")
        found = [call for call in self._cloud.journal.calls() if action in (None, call.action)]
        return _Json([call_document(call) for call in found])

    async def _faults(self, request: Request) -> Response:
        if request.method == "PUT":
            self._cloud.faults.put(read_faults(Node("faults", await _json(request))))
        return _Json({"faults": [fault_document(fault) for fault in self._cloud.faults.all()]})

    async def _settings(self, request: Request) -> Response:
        if request.method == "PATCH":
            keys = Node("settings", await _json(request)).mapping(optional=NAMES)
            self._cloud.world = with_settings(self._cloud.world, keys)
        return _Json(settings_document(self._cloud.world))

    async def _instance(self, request: Request) -> Response:
        """Move an instance to the `state` in the body: pending, running, stopped or terminated."""
        world, identifier = self._cloud.world, request.path_params["id"]
        if identifier not in world.instances:
            return _Json({"error": f"there is no instance {identifier}"}, 404)
        keys = Node("instance", await _json(request)).mapping(required=("state",))
        state = InstanceState(keys["state"].choice(InstanceState))
        now = self._cloud.clock.monotonic()
        self._cloud.world = set_instance_state(world, identifier, state, now)
        return _Json(_instance(self._cloud.world, self._cloud.world.instances[identifier]))

    async def _clock(self, request: Request) -> Response:
        clock = self._cloud.clock
        if request.method == "POST":
            if not isinstance(clock, ManualClock):
                return _Json({"error": "the clock is the system's: start with --manual-clock"}, 409)
            keys = Node("clock", await _json(request)).mapping(required=("advance_ms",))
            clock.advance(keys["advance_ms"].integer(0, MAX_ADVANCE_MS) / 1000)
        return _Json({"monotonic": clock.monotonic(), "wall": clock.wall()})


Endpoint = Callable[[Request], Awaitable[Response]]


def _strict(endpoint: Endpoint) -> Endpoint:
    """Answer a body that can't be used with what is wrong with it."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BodyTooLargeError:
            return _Json({"error": f"larger than {MAX_BODY_BYTES} bytes"}, 413)
        except (DocumentError, ValueError, RecursionError) as error:
            return _Json({"error": str(error)}, 400)

    return guarded


async def _json(request: Request) -> object:
    return json.loads(await read_body(request, MAX_BODY_BYTES))


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
        "state": str(instance.state),
        **asdict(instance.limits),
        "http_tokens": str(instance.http_tokens),
        "hop_limit": instance.hop_limit,
        "role": instance.role,
        "interfaces": [interface.id for interface in world.interfaces_of(instance.id)],
        "tags": dict(instance.tags),
    }


def _interface(
    world: World, interface: NetworkInterface, shown: NetworkInterface | None
) -> Mapping[str, object]:
    attachment = interface.attachment
    return {
        "id": interface.id,
        "mac": interface.mac,
        "instance": interface.instance,
        "device": attachment.device if attachment else None,
        "network_card": (attachment.network_card or 0) if attachment else None,
        "attachment": attachment and attachment.id,
        "status": str(attachment.status) if attachment else "available",
        "delete_on_termination": attachment.ends_with_instance if attachment else None,
        "source_dest_check": interface.source_dest_check,
        "groups": list(groups_of(world, interface)),
        "subnet": interface.subnet,
        "vpc": world.subnets[interface.subnet].vpc,
        "primary": str(interface.primary),
        "secondaries": _texts(interface.secondaries),
        "ipv6s": _texts(interface.ipv6s),
        "ipv4_prefixes": _texts(interface.ipv4_prefixes),
        "ipv6_prefixes": _texts(interface.ipv6_prefixes),
        "imds": _texts(shown.addresses) if shown else [],
        "imds_ipv6s": _texts(shown.ipv6s) if shown else [],
        "tags": dict(interface.tags),
    }


def _elastic_ip(world: World, found: ElasticIp) -> Mapping[str, object]:
    held = held_by(world, found.id)
    return {
        "id": found.id,
        "public_ip": str(found.public_ip),
        "network_border_group": found.border_group,
        "interface": held and held.interface.id,
        "private": held and str(held.association.private),
        "association": held and held.association.id,
        "remaps": found.remaps,
        "tags": dict(found.tags),
    }


def _texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]
