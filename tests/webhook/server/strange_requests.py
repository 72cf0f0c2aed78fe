"""What no client should send: by what is wrong with it, bodies, and whole requests."""

from __future__ import annotations

import json
from collections.abc import Callable

from common import pod_keys
from tests.webhook.server.mutations import VALID
from tests.webhook.wire import PATH, chunked, head
from webhook.server.body import MAX_BODY

GOOD = json.dumps(VALID).encode()
"""A review that is answered by a sidecar."""

DEPTH = 100_000


def review(pod: bytes) -> bytes:
    """Write a review of a pod that is JSON already, or is no JSON at all."""
    return GOOD.replace(json.dumps(VALID["request"]["object"]).encode(), pod)


def pod(networks: bytes = b"net", containers: bytes = b'[{"name": "a"}]', spec: bytes = b"") -> bytes:
    """Write a pod that is injected, of parts that are JSON or are none."""
    annotations = b'{"%b": "%b"}' % (pod_keys.NETWORKS.encode(), networks)
    return b'{"metadata": {"annotations": %b}, "spec": {"containers": %b%b}}' % (
        annotations,
        containers,
        spec,
    )


def many(part: bytes, size: int = MAX_BODY - 4096) -> bytes:
    """Repeat a part up to a size."""
    return part * (size // len(part))


NESTED = {
    "a list": b"[" * DEPTH + b"]" * DEPTH,
    "an open list": b"[" * DEPTH,
    "an object": b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    "an open object": b'{"a":' * DEPTH,
}

WIDE: dict[str, Callable[[], bytes]] = {
    "containers": lambda: pod(containers=b"[" + many(b"{},") + b"{}]"),
    "init containers": lambda: pod(spec=b', "initContainers": [' + many(b"{},") + b"{}]"),
    "volumes": lambda: pod(spec=b', "volumes": [' + many(b"{},") + b"{}]"),
    "emptyDir": lambda: pod(spec=b', "volumes": [{"emptyDir": {"a": [' + many(b"[],") + b"1]}}]"),
    "commas": lambda: pod(networks=many(b",")),
    "names": lambda: pod(networks=many(b"a,") + b"a"),
    "objects": lambda: pod(networks=b"[" + many(b"{},") + b"{}]"),
    "one name": lambda: pod(networks=many(b"a")),
    "digits": lambda: pod(containers=b'[{"resources": {"limits": {"cpu": "' + many(b"1") + b'"}}}]'),
    "number": lambda: pod(containers=b'[{"resources": {"limits": {"cpu": ' + many(b"1") + b"}}}]"),
}

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

ENDLESS = {
    "a header": (head()[:-2] + b"X: ", b"a" * (1 << 20)),
    "headers": (head()[:-2], b"".join(b"X%d: y\r\n" % number for number in range(70_000))),
    "a URL": (b"POST /", b"a" * (1 << 20)),
    "trailers": (head(CHUNKED) + chunked(GOOD)[:-2], b"".join(b"X%d: y\r\n" % n for n in range(70_000))),
}
