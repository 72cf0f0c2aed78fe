"""Whatever is sent to the webhook, its work grows with the size and no faster: it is counted, not timed.

Each reader of foreign bytes gets its worst inputs in two sizes. msgspec's decoder runs in C and goes over a
byte once; what the webhook itself makes of the result is counted here.
"""

# ruff: noqa: SLF001 - the patterns are private to their modules
from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from yaml.reader import Reader

from common import elastic_ips, pod_keys
from common import quantity as quantity_module
from common.agent_container import CONTAINER_NAME, RUN_VOLUME
from common.quantity import parse_quantity
from tests.webhook.core.test_cases import review
from tests.work_counter import count_work
from webhook.core import annotations as core_annotations
from webhook.core import requested_units
from webhook.core.annotations import Refusal, read_annotations
from webhook.core.inject import inject
from webhook.core.namespace_policy import ROUTES
from webhook.multus import names
from webhook.multus.networks import parse_networks
from webhook.server.review import cache_key, cache_view, decode_review
from webhook.settings_file import ConfigError, parse_settings

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

SIZES = (2_000, 4_000)
FIXED = 16_000
"""What may come on top, such as the reader without recursion, which takes over at 200 brackets."""
SETTINGS = parse_settings("agent: {image: i}")

LINEAR = frozenset(
    pattern.pattern
    for pattern in (
        # Bounded by its quantifiers.
        quantity_module._SYNTAX,
        requested_units._FORM,
        elastic_ips._POOL,
        elastic_ips._ALLOCATION,
        elastic_ips._INTERFACE,
        # Matched as a whole from the first character on. Giving back a character is one step, after which
        # the match fails at once: the next one must be another separator, or the end.
        names._LABEL,
        names._SUBDOMAIN,
        names._MAC,
        names._IPV4,
        names._PREFIX,
        # One character, looked for once.
        names._NOT_IN_INTERFACE,
        names._NOT_IN_LISTED_INTERFACE,
        Reader.NON_PRINTABLE,
        re.compile("-?[0-9]{1,19}"),
    )
)

TEXTS: dict[str, Callable[[int], str]] = {
    "one letter": lambda size: "a" * size,
    "a letter, then none": lambda size: "a" * size + "!",
    "labels": lambda size: "a." * (size // 2) + "!",
    "hyphens": lambda size: "a" + "-" * size,
    "commas": lambda size: "," * size,
    "names": lambda size: "a," * (size // 2) + "b",
    "elements": lambda size: ",".join(f"n/a@i{number}" for number in range(size // 8)),
    "slashes": lambda size: "/" * size,
    "ats": lambda size: "@" * size,
    "spaces": lambda size: " " * size,
    "wide spaces": lambda size: "\u3000" * size + "a",
    "surrogates": lambda size: "\ud800" * size,
    "digits": lambda size: "1" * size,
    "zeros": lambda size: "0" * size + "x",
    "a fraction": lambda size: "0." + "1" * size + "x",
    "quotes": lambda size: '"' * size,
    "escaped quotes without an end": lambda size: '[{"name":"' + '\\"' * (size // 2),
    "backslashes": lambda size: '[{"name":"' + "\\" * size,
    "opening brackets": lambda size: "[" * size,
    "opening objects": lambda size: '{"a":' * (size // 5),
    "nested lists": lambda size: '[{"x":' + "[" * (size // 2) + "]" * (size // 2) + "}]",
    "objects": lambda size: "[" + "{}," * (size // 3) + "{}]",
    "objects with names": lambda size: (
        "[" + ",".join(f'{{"name":"a","interface":"i{number}"}}' for number in range(size // 32)) + "]"
    ),
    "keys": lambda size: "[{" + ",".join('"name":"a"' for _ in range(size // 11)) + "}]",
    "lists of one key": lambda size: "[{" + ",".join('"ips":["::1"]' for _ in range(size // 14)) + "}]",
    "addresses": lambda size: '[{"name":"a","ips":[' + ",".join(['"::1/64"'] * (size // 9)) + "]}]",
    "colons": lambda size: '[{"name":"a","ips":["' + ":" * size + '"]}]',
    "a hardware address": lambda size: '[{"name":"a","mac":"' + "00:" * (size // 3) + '"}]',
    "gateways": lambda size: '[{"name":"a","default-route":[' + ",".join(['"::1"'] * (size // 6)) + "]}]",
    "numbers": lambda size: '[{"name":"a","cni-args":{"a":[' + "1," * (size // 2) + "1]}}]",
    "a long number": lambda size: '[{"name":"a","cni-args":{"a":' + "1" * size + "}}]",
    "an object's end": lambda size: '[{"name":"a"}' + "]" * size,
}


def networks(text: str) -> object:
    return parse_networks(text, "apps")


def annotation(key: str) -> Callable[[str], object]:
    def read(text: str) -> None:
        with suppress(Refusal):
            read_annotations({key: text})

    return read


def quantity(text: str) -> None:
    with suppress(ValueError):
        parse_quantity(text)


def settings(text: str) -> None:
    with suppress(ConfigError):
        parse_settings(json.dumps({"agent": {"image": "i", "timeout": text, "allowedCIDRs": [text]}}))


READERS: dict[str, Callable[[str], object]] = {
    "networks": networks,
    "quantity": quantity,
    "settings": settings,
    **{key: annotation(key) for key in (*sorted(core_annotations.KNOWN), pod_keys.PREFIX + "unknown")},
}


def assert_linear(work: list[int]) -> None:
    """Check that twice the size is at most twice the work, but for what any input costs."""
    for smaller, larger in itertools.pairwise(work):
        assert larger <= 2.2 * smaller + FIXED, work


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_in_linear_work(reader: str, text: str) -> None:
    inputs = [TEXTS[text](size) for size in SIZES]
    READERS[reader](inputs[0])  # what is imported late is not counted
    assert_linear([count_work(functools.partial(READERS[reader], value), LINEAR) for value in inputs])


def resources(number: int) -> dict[str, Any]:
    return {"requests": {"cpu": f"{number % 9 + 1}m"}, "limits": {"cpu": "1", "memory": "1Gi"}}


PODS: dict[str, Callable[[int], dict[str, Any]]] = {
    "containers": lambda size: {
        "containers": [{"name": f"c{n}", "resources": resources(n)} for n in range(size)]
    },
    "init containers": lambda size: {
        "initContainers": [{"name": CONTAINER_NAME + str(n), "env": [{}] * 3} for n in range(size)]
    },
    "volumes": lambda size: {"volumes": [{"name": f"v{n}", "emptyDir": {}} for n in range(size)]},
    "our volumes": lambda size: {"volumes": [{"name": RUN_VOLUME, "emptyDir": {}}] * size},
    "pull secrets": lambda size: {"imagePullSecrets": [{"name": f"s{n}"} for n in range(size)]},
    "commands": lambda size: {"containers": [{"name": "a", "command": ["x/" * 9] * size}]},
    "node selector": lambda size: {"nodeSelector": {f"k{n}": "" for n in range(size)}},
}
METADATA: dict[str, Callable[[int], dict[str, Any]]] = {
    "none": lambda _: {"annotations": {pod_keys.NETWORKS: "a"}},
    "labels": lambda size: {
        "annotations": {pod_keys.NETWORKS: "a"},
        "labels": {f"l{number}": "" for number in range(size)},
    },
    "our annotations": lambda size: {
        "annotations": {pod_keys.NETWORKS: "a", **{f"{pod_keys.PREFIX}{n}": "" for n in range(size)}}
    },
    "interfaces": lambda size: {
        "annotations": {
            pod_keys.NETWORKS: ",".join(["a"] * 200),
            pod_keys.INTERFACES: ",".join(f"net{n}" for n in range(size)),
        }
    },
    "networks": lambda size: {"annotations": {pod_keys.NETWORKS: ",".join(["a"] * size)}},
}


@pytest.mark.parametrize("metadata", METADATA)
@pytest.mark.parametrize("spec", PODS)
def test_a_review_is_answered_in_linear_work(spec: str, metadata: str) -> None:
    def answer(body: bytes) -> None:
        request = decode_review(body)
        assert request.pod is not None, request.problem
        cache_key(cache_view(request.pod))
        inject(request.pod, request.namespace, ROUTES["/mutate/namespace/sidecar"], SETTINGS)

    answer(review({"spec": {}}, "apps"))  # what is imported late is not counted
    bodies = [
        review({"metadata": METADATA[metadata](size), "spec": PODS[spec](size)}, "apps")
        for size in (500, 1000)
    ]
    assert_linear([count_work(functools.partial(answer, body), LINEAR) for body in bodies])
