"""The floors: the webhook's server stack answering a constant after it has read the body.

`floor` answers from a route of FastAPI's, `bare` is the same uvicorn with nothing behind it. What is missing
against the webhook is all that is ours: decoding, the decision, the patch, metrics, logs, limits. `constant`
is `bare` with the uid of the request and the name of its token volume in the answer, without which the API
server refuses it: so it answers a review byte for byte as the webhook does.
`python -m benchmarks.webhook.floor floor|bare|constant ANSWER CERTIFICATE KEY PORT BACKLOG KEEP_ALIVE`

Its memory is compared with the webhook's. So a floor imports what it serves with, and of the webhook only
the certificate's TLS context; the webhook's settings come as arguments.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from webhook.server.cert_watcher import CertificateFiles, CertWatcher

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/"
TOKEN_VOLUME = b"kube-api-access-"
UID_LENGTH = 36
VOLUME_LENGTH = 5


def main() -> None:
    """Serve until SIGTERM."""
    which, answer, certificate, key, port, backlog, keep_alive = sys.argv[1:]
    content = Path(answer).read_bytes()
    certificates = CertWatcher(CertificateFiles(Path(certificate), Path(key)))
    uvicorn.run(
        APPS[which](content),
        host="127.0.0.1",
        port=int(port),
        backlog=int(backlog),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        ssl_context_factory=lambda _config, _default: certificates.listener,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(keep_alive),
    )


def _framework(content: bytes) -> ASGIApp:
    from fastapi import FastAPI, Request, Response  # noqa: PLC0415 - the other floors do without

    async def constant(request: Request) -> Response:
        await request.body()
        return Response(content, media_type="application/json")

    app = FastAPI(openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})
    app.add_route(PATH, constant, methods=["POST"])
    return app


def _bare(content: bytes) -> ASGIApp:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]

    async def constant(_scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return constant


def for_api_server(content: bytes) -> ASGIApp:
    """Answer each review as `content` answered one, with the uid and the token volume of its own."""
    response = json.loads(content)["response"]
    before, rest = content.split(response["uid"].encode(), 1)
    between, after = rest.split(response["patch"].encode(), 1)
    patch = base64.b64decode(response["patch"])
    volume = _following(patch, TOKEN_VOLUME, VOLUME_LENGTH)

    async def constant(_scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        uid = _following(body, b'"uid":"', UID_LENGTH)
        own = base64.b64encode(patch.replace(volume, _following(body, TOKEN_VOLUME, VOLUME_LENGTH)))
        found = b"".join((before, uid, between, own, after))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(found))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": found})

    return constant


def _following(content: bytes, words: bytes, length: int) -> bytes:
    """Return what follows the first occurrence of words."""
    start = content.index(words) + len(words)
    return content[start : start + length]


APPS = {"floor": _framework, "bare": _bare, "constant": for_api_server}
"""By the names of figures.py, which would import more."""

if __name__ == "__main__":
    main()
