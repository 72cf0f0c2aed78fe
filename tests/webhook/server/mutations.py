"""Reviews gone wrong: a seeded mutator of valid ones. The same seed and number give the same bytes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from common import pod_keys
from common.agent_container import CONTAINER_NAME

Node = tuple[Any, Any]
"""A container (dict or list) and one of its keys."""

VALID: dict[str, Any] = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "apps",
        "operation": "CREATE",
        "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
        "object": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": "web-",
                "labels": {"app": "web", pod_keys.INJECTION: "enabled"},
                "annotations": {
                    pod_keys.NETWORKS: '[{"name": "ipvlan-multus", "interface": "net7"}]',
                    pod_keys.MODE: "sidecar",
                    pod_keys.TIMEOUT: "90s",
                    pod_keys.AGENT_CPU: "100m",
                    pod_keys.TAKEOVER: "never",
                },
            },
            "spec": {
                "initContainers": [
                    {"name": "own", "image": "i", "restartPolicy": "Always", "env": [{"name": "A"}]}
                ],
                "containers": [
                    {
                        "name": "app",
                        "image": "busybox",
                        "command": ["sleep", "1"],
                        "resources": {
                            "requests": {"cpu": "100m", "memory": "64Mi"},
                            "limits": {"cpu": "1", "memory": 134217728},
                        },
                    }
                ],
                "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}],
                "imagePullSecrets": [{"name": "registry"}],
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "schedulerName": "default-scheduler",
                "os": {"name": "linux"},
                "hostNetwork": False,
                "resources": {"limits": {"cpu": "2"}},
            },
        },
        "oldObject": None,
        "dryRun": False,
    },
}

SCALARS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    2**64,
    10**40,
    1.5,
    -0.0,
    1e308,
    "",
    "a",
    "\x00",
    "\u2028",
    "😀" * 20,
    "é\u0301",
    "0x10",
    "1e999",
    "-1",
    "9" * 5000,
    "1e-99",
    "NaN",
    ",",
    "a,,b/c@d",
    "[{}]",
    '{"name": ',
    "enabled",
    "init",
    "CREATE",
    "../../etc/passwd",
    "%s%n",
    "a" * 70_000,
)
SPLICES: tuple[bytes, ...] = (
    b"\xff",
    b"\xc3(",
    b"\xed\xa0\x80",
    b"\x00",
    b'"',
    b"{",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\ud800",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"/* */",
    b"\xef\xbb\xbf",
    b"\r\n\r\n",
)


def mutation(seed: int, number: int) -> bytes:
    """Make the body with this number: one to four faults in a valid review."""
    chance = random.Random(f"{seed}/{number}")
    document = copy.deepcopy(VALID)
    for _ in range(chance.randint(0, 3)):
        chance.choice(_STRUCTURAL)(chance, document)
    body = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode()
    if chance.random() < 0.4:
        body = chance.choice(_TEXTUAL)(chance, body)
    return body


def _nodes(value: Any) -> Iterator[Node]:
    keys: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in list(keys):
        yield value, key
        if isinstance(child, dict | list):
            yield from _nodes(child)


def _pick(chance: random.Random, document: Any) -> Node:
    # Half of the faults go into what the webhook reads first, the pod.
    request = document.get("request")
    pod = request.get("object") if isinstance(request, dict) else None
    inside = pod if isinstance(pod, dict) and pod and chance.random() < 0.7 else document
    nodes = list(_nodes(inside))
    return chance.choice(nodes) if nodes else (document, "request")


def _value(chance: random.Random) -> Any:
    shape = chance.random()
    if shape < 0.7:
        return chance.choice(SCALARS)
    if shape < 0.85:
        return [chance.choice(SCALARS) for _ in range(chance.randint(0, 3))]
    return {str(chance.choice(SCALARS)): chance.choice(SCALARS) for _ in range(chance.randint(0, 3))}


def _replace(chance: random.Random, document: Any) -> None:
    parent, key = _pick(chance, document)
    parent[key] = _value(chance)


def _remove(chance: random.Random, document: Any) -> None:
    parent, key = _pick(chance, document)
    if key in parent if isinstance(parent, dict) else key < len(parent):
        del parent[key]


def _wrap(chance: random.Random, document: Any) -> None:
    parent, key = _pick(chance, document)
    old = copy.deepcopy(parent[key]) if isinstance(parent, list) else copy.deepcopy(parent.get(key))
    parent[key] = chance.choice([[old], {"a": old}, [old] * 3, json.dumps(old)])


def _rename(chance: random.Random, document: Any) -> None:
    parent, key = _pick(chance, document)
    if isinstance(parent, dict) and key in parent:
        name = chance.choice([key.upper(), key + " ", "", pod_keys.PREFIX + "x", CONTAINER_NAME])
        parent[name] = parent.pop(key)


def _truncate(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body))]


def _flip(chance: random.Random, body: bytes) -> bytes:
    place = chance.randrange(len(body))
    return body[:place] + bytes([body[place] ^ (1 << chance.randrange(8))]) + body[place + 1 :]


def _splice(chance: random.Random, body: bytes) -> bytes:
    place = chance.randrange(len(body))
    return body[:place] + chance.choice(SPLICES) + body[place:]


def _duplicate_key(chance: random.Random, body: bytes) -> bytes:
    key = chance.choice([b'"request"', b'"object"', b'"metadata"', b'"spec"', b'"annotations"', b'"uid"'])
    value = chance.choice([b"null", b"{}", b"[]", b'"x"', b"1"])
    first = chance.random() < 0.5
    pair = key + b": " + value
    return body.replace(key, pair + b", " + key, 1) if first else body.replace(b"{" + key, b"{" + pair, 1)


def _repeat(chance: random.Random, body: bytes) -> bytes:
    start = chance.randrange(len(body))
    return body[:start] + body[start : start + chance.randint(1, 200)] * 3 + body[start:]


def _encode(chance: random.Random, body: bytes) -> bytes:
    return body.decode().encode(chance.choice(["utf-16", "utf-32", "utf-7", "utf-8-sig"]))


_STRUCTURAL: tuple[Callable[[random.Random, Any], None], ...] = (_replace, _replace, _remove, _wrap, _rename)
_TEXTUAL: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _truncate,
    _flip,
    _splice,
    _duplicate_key,
    _repeat,
    _encode,
)
