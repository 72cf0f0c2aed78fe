"""The floors: the webhook's server stack answering a constant after it has read the body.

`floor` answers from a route of FastAPI's, `bare` is the same uvicorn with nothing behind it. What is missing
against the webhook is all that is ours: decoding, the decision, the patch, metrics, logs.
`python -m benchmarks.webhook.floor floor|bare ANSWER CERTIFICATE KEY PORT`
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.webhook.figures import FLOOR
from webhook.server.cert_watcher import CertificateFiles, CertWatcher
from webhook.server.main import BACKLOG, KEEP_ALIVE

PATH = "/"


def main() -> None:
    """Serve until SIGTERM."""
    which, answer, certificate, key, port = sys.argv[1:]
    content = Path(answer).read_bytes()
    certificates = CertWatcher(CertificateFiles(Path(certificate), Path(key)))
    uvicorn.run(
        _framework(content) if which == FLOOR else _bare(content),
        host="127.0.0.1",
        port=int(port),
        backlog=BACKLOG,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        ssl_context_factory=lambda _config, _default: certificates.listener,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
    )


def _framework(content: bytes) -> ASGIApp:
    async def constant(request: Request) -> Response:
        await request.body()
        return Response(content, media_type="application/json")

    app = FastAPI(openapi_url=None)
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


if __name__ == "__main__":
    main()
