"""The route of reviews: a body in, the response of the handler out.

It is a route of FastAPI's like any other, and matches by one look-up: the router's own routes compare a path
with one pattern after the other, and there are 22 paths. The body is decoded as far as the decision reads it,
not by pydantic.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from webhook.core.namespace_policy import ROUTES, NamespacePolicy
from webhook.server import body
from webhook.server.body import SMALL_BODY, LargeBodies, Rejected, announced_size, receive_small
from webhook.server.drain import Draining
from webhook.server.handler import AdmissionHandler
from webhook.server.http_limits import BODY_COMPLETE
from webhook.server.review import BadReview

PREFIX = "/mutate/"
METHOD = "POST"


class AdmissionRoute(BaseRoute):
    """Answers the reviews of all entries of the webhook configuration."""

    def __init__(self, handler: AdmissionHandler, draining: Draining, large_bodies: LargeBodies) -> None:
        self._handler = handler
        self._draining = draining
        self._large_bodies = large_bodies

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match every path under /mutate/: those that no entry has are answered with a sentence."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return Match.NONE, {}
        return (Match.FULL if scope["method"] == METHOD else Match.PARTIAL), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        namespace = ROUTES.get(scope["path"])
        if scope["method"] != METHOD:
            await PlainTextResponse("a review is sent by POST\n", 405, {"allow": METHOD})(
                scope, receive, send
            )
        elif namespace is None:
            await PlainTextResponse("not a path of this webhook\n", 404)(scope, receive, send)
        else:
            await self._admit(scope, receive, send, namespace)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, namespace: NamespacePolicy) -> None:
        metrics = self._handler.metrics
        metrics.reviews_in_flight += 1
        try:
            content = await self._respond(scope, receive, namespace)
        except Rejected as rejected:
            await self._reject(rejected.code, str(rejected))(scope, receive, send)
            return
        except TimeoutError:
            sentence = f"the body did not arrive within {body.BODY_TIMEOUT} s"
            await self._reject(408, sentence)(scope, receive, send)
            return
        except BadReview as error:
            await self._reject(400, str(error))(scope, receive, send)
            return
        finally:
            metrics.reviews_in_flight -= 1
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        if self._draining.active:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _respond(self, scope: Scope, receive: Receive, namespace: NamespacePolicy) -> bytes:
        if announced_size(scope) <= SMALL_BODY:
            content = await receive_small(receive, complete=BODY_COMPLETE in scope)
            return self._handler.handle(content, namespace)
        return await self._large_bodies.receive_and_process(
            scope, receive, lambda content: self._handler.handle(content, namespace)
        )

    def _reject(self, code: int, sentence: str) -> Response:
        self._handler.metrics.rejected[code].inc()
        return PlainTextResponse(f"{sentence}\n", code)
