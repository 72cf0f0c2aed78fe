"""Requests that no client should send: what is wrong, and the bytes."""

from __future__ import annotations

import json

from tests.webhook.mutations import VALID
from tests.webhook.wire import PATH, chunked, head

GOOD = json.dumps(VALID).encode()
"""A review that is answered by a sidecar."""

LENGTH = b"Content-Length: %d" % len(GOOD)
CHUNKED = b"Transfer-Encoding: chunked"
HEADS: dict[str, bytes] = {
    "length 1e3": head(b"Content-Length: 1e3") + GOOD,
    "length negative": head(b"Content-Length: -1") + GOOD,
    "length signed": head(b"Content-Length: +5") + GOOD,
    "length hexadecimal": head(b"Content-Length: 0x10") + GOOD,
    "length superscript": head(b"Content-Length: \xb2") + GOOD,
    "length list": head(b"Content-Length: 5, 5") + GOOD,
    "length spaced": head(b"Content-Length: 5 5") + GOOD,
    "length empty": head(b"Content-Length:") + GOOD,
    "length of 26 digits": head(b"Content-Length: " + b"9" * 26) + GOOD,
    "length of 5000 digits": head(b"Content-Length: " + b"9" * 5000) + GOOD,
    "lengths that differ": head(LENGTH, b"Content-Length: 6") + GOOD,
    "length twice": head(LENGTH, LENGTH) + GOOD,
    "length and chunked": head(LENGTH, CHUNKED) + chunked(GOOD),
    "chunked and length": head(CHUNKED, LENGTH) + chunked(GOOD),
    "gzip": head(b"Transfer-Encoding: gzip") + GOOD,
    "gzip, chunked": head(b"Transfer-Encoding: gzip, chunked") + chunked(GOOD),
    "chunked twice": head(b"Transfer-Encoding: chunked, chunked") + chunked(GOOD),
    "xchunked": head(b"Transfer-Encoding: xchunked") + chunked(GOOD),
    "chunk of no number": head(CHUNKED) + b"zz\r\n",
    "chunk of 20 digits": head(CHUNKED) + b"f" * 20 + b"\r\n",
    "chunk shorter than said": head(CHUNKED) + b"3\r\nabcdef\r\n0\r\n\r\n",
    "chunk extension": head(CHUNKED) + b"1;a=" + b"b" * 100_000 + b"\r\n{\r\n0\r\n\r\n",
    "trailer": head(CHUNKED) + chunked(GOOD)[:-2] + b"X: y\r\n\r\n",
    "no length": head() + GOOD,
    "HTTP/1.0": head(LENGTH, start=b"POST %b HTTP/1.0") + GOOD,
    "HTTP/0.9": b"POST %b\r\n\r\n" % PATH,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 100,
    "HTTP/9.9": head(LENGTH, start=b"POST %b HTTP/9.9") + GOOD,
    "upgrade": head(b"Connection: Upgrade", b"Upgrade: websocket", LENGTH) + GOOD,
    "upgrade to h2c": head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", LENGTH) + GOOD,
    "expect": head(b"Expect: 100-continue", LENGTH) + GOOD,
    "expect something else": head(b"Expect: a-lot", LENGTH) + GOOD,
    "method unknown": head(start=b"FROB %b HTTP/1.1"),
    "CONNECT": head(start=b"CONNECT webhook:443 HTTP/1.1"),
    "OPTIONS *": head(start=b"OPTIONS * HTTP/1.1"),
    "TRACE": head(start=b"TRACE %b HTTP/1.1"),
    "GET with a body": head(LENGTH, start=b"GET %b HTTP/1.1") + GOOD,
    "PUT": head(LENGTH, start=b"PUT %b HTTP/1.1") + GOOD,
    "DELETE": head(start=b"DELETE %b HTTP/1.1"),
    "path with nothing": head(LENGTH, path=b"//") + GOOD,
    "path escaped": head(LENGTH, path=b"/%zz%00%c3%28") + GOOD,
    "path in Latin-1": head(LENGTH, path=b"/\xff\xfe") + GOOD,
    "path upwards": head(LENGTH, path=b"/mutate/../mutate/namespace/default") + GOOD,
    "path that is a URL": head(LENGTH, path=b"http://other" + PATH) + GOOD,
    "path that is half a URL": head(LENGTH, path=b"http://[::1") + GOOD,
    "path that is a query": head(LENGTH, path=b"?timeout=10s") + GOOD,
    "query": head(LENGTH, path=PATH + b"?timeout=10s&" + b"a=b&" * 5000) + GOOD,
    "host broken": head(b"Host: [::1", b"Host: \xff:99999999", LENGTH) + GOOD,
    "header without colon": head(b"nonsense", LENGTH) + GOOD,
    "header folded": head(b"X: y\r\n z", LENGTH) + GOOD,
    "header with NUL": head(b"X: \x00", LENGTH) + GOOD,
    "header name with space": head(b"X y: z", LENGTH) + GOOD,
    "line feeds alone": head(LENGTH).replace(b"\r\n", b"\n") + GOOD,
    "content type": head(b"Content-Type: application/x-www-form-urlencoded", LENGTH) + GOOD,
    "content encoding": head(b"Content-Encoding: gzip", LENGTH) + GOOD,
    "nothing but line ends": b"\r\n" * 1000,
    "binary": bytes(range(256)) * 40,
}
