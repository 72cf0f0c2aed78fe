"""The IMDS endpoint: session tokens, hop limit, and HTTP around the metadata tree.

Sources: "Use the Instance Metadata Service to access instance metadata" and "Configure the Instance Metadata
Service options" in the EC2 user guide for methods, headers and status codes (400 for a wrong token request,
401 for a wrong token, 403 where the endpoint is disabled); the AWS Security Blog of 2019-11-19 on IMDSv2 for
X-Forwarded-For and for the hop limit, which holds for the answer to the PUT alone.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.doubles.cloud import Cloud, source_of
from tests.doubles.imds import metadata, read
from tests.doubles.model import HttpTokens, Instance

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
TOKEN_PATH = "/latest/api/token"
MAX_TTL = 21_600

NO_ANSWER = "no answer"


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
        call = self._cloud.arrival("imds", request, f"{request.method} {request.url.path}", {})
        instance = self._cloud.world.instance_at(source_of(request))
        if self._out_of_reach(request, instance):
            self._cloud.finished(call, NO_ANSWER)
            await self._until_gone(request)
            return _status(503)
        response = self._answer(request, instance)
        self._cloud.finished(call, str(response.status_code))
        return response

    def _out_of_reach(self, request: Request, instance: Instance | None) -> bool:
        if instance is None or not instance.http_endpoint or not _asks_for_token(request):
            return False
        return instance.hop_limit < 2 and source_of(request) not in instance.host_addresses

    async def _until_gone(self, request: Request) -> None:
        # The real answer is lost on the way, so the client waits; it ends with the client or the double.
        ends = {asyncio.ensure_future(_gone(request)), asyncio.ensure_future(self._cloud.closing.wait())}
        _, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in waiting:
            end.cancel()

    def _answer(self, request: Request, instance: Instance | None) -> Response:
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
        return self._value(request.url.path, instance)

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

    def _value(self, path: str, instance: Instance) -> Response:
        root, _, rest = path.lstrip("/").partition("/")
        clock = self._cloud.clock
        tree = metadata(self._cloud.world, instance, clock.monotonic(), clock.wall())
        value = read(tree, rest) if root == "latest" else None
        if value is None:
            return _status(404)
        return PlainTextResponse(value, headers={"server": "EC2ws"})


async def _gone(request: Request) -> bool:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return True


def _asks_for_token(request: Request) -> bool:
    return request.method == "PUT" and request.url.path == TOKEN_PATH


def _status(status: int) -> Response:
    names = {
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        503: "Service Unavailable",
    }
    title = f"{status} - {names[status]}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Response(page, status, {"server": "EC2ws"}, media_type="text/html")
