"""The floor: the webhook's server stack, set up alike, answering a constant after it has read the body.

What is missing against the webhook is all that is ours: decoding, the decision, the patch, metrics, logs.
`python -m benchmarks.webhook.floor ANSWER CERTIFICATE KEY PORT`
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from multus_eni.webhook.serve import BACKLOG, KEEP_ALIVE
from multus_eni.webhook.tls import CertificateFiles, Certificates

PATH = "/"


def main() -> None:
    """Serve until SIGTERM."""
    answer, certificate, key, port = sys.argv[1:]
    content = Path(answer).read_bytes()
    certificates = Certificates(CertificateFiles(Path(certificate), Path(key)))

    async def constant(request: Request) -> Response:
        await request.body()
        return Response(content, media_type="application/json")

    app = FastAPI(openapi_url=None)
    app.add_route(PATH, constant, methods=["POST"])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(port),
        backlog=BACKLOG,
        loop="uvloop",
        http="httptools",
        ws="none",
        ssl_context_factory=lambda _config, _default: certificates.listener,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
    )


if __name__ == "__main__":
    main()
