"""The IMDS endpoint: session tokens, hop limit, and HTTP around the metadata tree.

Sources: "Use the Instance Metadata Service to access instance metadata" and "Configure the Instance Metadata
Service options" in the EC2 user guide for methods, headers and status codes (400 for a wrong token request,
401 for a wrong token, 403 where the endpoint is disabled); the AWS Security Blog of 2019-11-19 on IMDSv2 for
X-Forwarded-For and for the hop limit, which holds for the answer to the PUT alone.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.doubles.cloud import Cloud, source_of
from tests.doubles.fault_injection import IMDS_METADATA, IMDS_TOKEN, Fault
from tests.doubles.imds.metadata import metadata, read
from tests.doubles.journal import NO_ANSWER
from tests.doubles.state.resources import HttpTokens, Instance

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
TOKEN_PATH = "/latest/api/token"
MAX_TTL = 21_600


@dataclass(frozen=True)
class Session:
    """What a token opens: one instance's metadata, until a time of the monotonic clock."""

    instance: str
    until: float


class MetadataEndpoint:
    """Answers metadata requests; which instance asks is told by the source address."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._sessions: dict[str, Session] = {}

    async def __call__(self, request: Request) -> Response:
        """Answer one request; a token request over more hops than the limit allows is never answered."""
        path = request.url.path
        call = self._cloud.arrival("imds", request, f"{request.method} {path}", {})
        instance = self._cloud.world.instance_at(source_of(request))
        if self._out_of_reach(request, instance):
            self._cloud.finished(call, NO_ANSWER)
            await self._cloud.until_gone(request)
            return _status(503)
        kind = IMDS_TOKEN if _asks_for_token(request) else IMDS_METADATA
        fault = self._cloud.faults.take(kind, call.caller, path)
        if fault and fault.connection:
            self._cloud.finished(call, NO_ANSWER, fault=fault)
            return await self._cloud.deliver(request, _status(503), fault)
        response = _status(fault.status) if fault and fault.status else self._answer(request, instance, fault)
        self._cloud.finished(call, str(response.status_code), fault=fault)
        return await self._cloud.deliver(request, response, fault)

    def _out_of_reach(self, request: Request, instance: Instance | None) -> bool:
        if instance is None or not instance.http_endpoint or not _asks_for_token(request):
            return False
        return instance.hop_limit < 2 and source_of(request) not in instance.host_addresses

    def _answer(self, request: Request, instance: Instance | None, fault: Fault | None) -> Response:
        if instance is None:
            return PlainTextResponse(f"No instance of this world has the source {source_of(request)}.", 403)
        if not instance.http_endpoint:
            return _status(403)
        if _asks_for_token(request):
            return self._new_token(request, instance)
        if request.method != "GET" or request.url.path == TOKEN_PATH:
            return _status(405)
        if not self._may_read(request, instance):
            return _status(401)
        return self._value(request.url.path, instance, fault.stale_ms / 1000 if fault else 0.0)

    def _new_token(self, request: Request, instance: Instance) -> Response:
        if "x-forwarded-for" in request.headers:
            return _status(403)
        ttl = request.headers.get(TTL_HEADER, "")
        if not re.fullmatch(r"\d{1,5}", ttl, re.ASCII) or not 1 <= int(ttl) <= MAX_TTL:
            return _status(400)
        now = self._cloud.clock.monotonic()
        self._sessions = {token: known for token, known in self._sessions.items() if now < known.until}
        token = secrets.token_urlsafe(42)
        self._sessions[token] = Session(instance.id, now + int(ttl))
        return PlainTextResponse(token, headers={TTL_HEADER: ttl, "server": "EC2ws"})

    def _may_read(self, request: Request, instance: Instance) -> bool:
        token = request.headers.get(TOKEN_HEADER)
        if token is None:
            return instance.http_tokens is HttpTokens.OPTIONAL
        session = self._sessions.get(token)
        if session is None or session.instance != instance.id:
            return False
        return self._cloud.clock.monotonic() < session.until

    def _value(self, path: str, instance: Instance, older: float) -> Response:
        root, _, rest = path.lstrip("/").partition("/")
        clock = self._cloud.clock
        tree = metadata(self._cloud.world.in_imds(clock.monotonic(), older), instance, clock.wall())
        value = read(tree, rest) if root == "latest" else None
        if value is None:
            return _status(404)
        return PlainTextResponse(value, headers={"server": "EC2ws"})


def _asks_for_token(request: Request) -> bool:
    return request.method == "PUT" and request.url.path == TOKEN_PATH


def _status(status: int) -> Response:
    title = f"{status} - {HTTPStatus(status).phrase}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Response(page, status, {"server": "EC2ws"}, media_type="text/html")
