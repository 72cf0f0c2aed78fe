"""Pods at the edge: very large, nearly empty, and with content that a careless patch would rewrite."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import jsonpatch
import msgspec
import pytest

from common import pod_keys
from common.agent_container import CONTAINER_NAME, RUN_VOLUME
from tests.webhook.core.test_cases import review
from tests.webhook.pods import applied, encoded_response
from webhook.core import patch
from webhook.core.inject import Outcome, inject
from webhook.core.namespace_policy import ROUTES
from webhook.core.pod import Pod
from webhook.core.reasons import Reason
from webhook.server.review import decode_review
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

SETTINGS = parse_settings(
    """
agent:
  image: registry.example/ipagent:1.0
  imagePullSecrets: [ours]
  volumes: [{name: ca, configMap: {name: ca}}]
  volumeMounts: [{name: ca, mountPath: /etc/ssl/ours}]
"""
)
BARE = parse_settings("agent: {image: i}")
MODES = ("init", "sidecar")
NETWORKS = {pod_keys.NETWORKS: "net"}


def outcome(pod: Any, mode: str, settings: Any = SETTINGS) -> Outcome:
    """Decide about a pod as the webhook does: from bytes."""
    body = pod if isinstance(pod, bytes) else review(pod, "apps")
    request = decode_review(body)
    assert request.pod is not None, request.problem
    return inject(request.pod, request.namespace, ROUTES[f"/mutate/namespace/{mode}"], settings)


def names(containers: Iterable[dict[str, Any]]) -> list[str]:
    return [container["name"] for container in containers]


def large_pod(count: int) -> dict[str, Any]:
    amounts = {"cpu": "100m", "memory": "64Mi"}
    containers: list[dict[str, Any]] = [
        {
            "name": f"app-{number}",
            "image": "registry.example/app:1",
            "env": [{"name": f"VARIABLE_{index}", "value": "x" * 40} for index in range(30)],
            "resources": {"requests": amounts, "limits": amounts},
        }
        for number in range(count)
    ]
    annotations = {**NETWORKS, **{f"example.com/note-{number}": "y" * 500 for number in range(200)}}
    return {
        "metadata": {"generateName": "large-", "annotations": annotations},
        "spec": {
            "containers": containers,
            "initContainers": [{**each, "name": each["name"].replace("app", "init")} for each in containers],
            "volumes": [{"name": f"v{number}", "emptyDir": {}} for number in range(count)],
        },
    }


@pytest.mark.parametrize("mode", MODES)
def test_250_containers_and_as_many_init_containers_stay_in_order(mode: str) -> None:
    pod = large_pod(250)
    result = applied(pod, outcome(pod, mode).operations)
    assert names(result["spec"]["initContainers"]) == [
        CONTAINER_NAME,
        *names(pod["spec"]["initContainers"]),
    ]
    assert result["spec"]["containers"] == pod["spec"]["containers"]
    assert result["spec"]["volumes"][:250] == pod["spec"]["volumes"]


@pytest.mark.parametrize("mode", MODES)
def test_the_patch_does_not_grow_with_the_pod(mode: str) -> None:
    sizes = {len(encoded_response("u", outcome(large_pod(count), mode))) for count in (1, 250)}
    assert max(sizes) - min(sizes) < 16


@pytest.mark.parametrize("empty", ["absent", "null", "empty"])
@pytest.mark.parametrize("mode", MODES)
def test_lists_that_are_absent_null_or_empty_are_made(mode: str, empty: str) -> None:
    lists = ("initContainers", "volumes", "imagePullSecrets")
    spec: dict[str, Any] = {"containers": [{"name": "app"}]}
    if empty != "absent":
        spec.update({name: None if empty == "null" else [] for name in lists})
    pod = {"metadata": {"annotations": dict(NETWORKS)}, "spec": spec}
    result = applied(pod, outcome(pod, mode).operations)["spec"]
    assert names(result["initContainers"]) == [CONTAINER_NAME]
    assert result["imagePullSecrets"] == [{"name": "ours"}]
    assert names(result["volumes"]) == ["ca", *([RUN_VOLUME] if mode == "sidecar" else [])]


@pytest.mark.parametrize("mode", MODES)
def test_what_needs_no_volume_and_no_secret_adds_no_list(mode: str) -> None:
    pod = {"metadata": {"annotations": dict(NETWORKS)}, "spec": {"containers": [{"name": "app"}]}}
    result = applied(pod, outcome(pod, mode, BARE).operations)["spec"]
    assert "imagePullSecrets" not in result
    assert ("volumes" in result) is (mode == "sidecar")


@pytest.mark.parametrize("metadata", [{}, {"annotations": None}, {"annotations": {}}, {"labels": None}])
def test_a_pod_without_annotations_or_labels_is_left_alone(metadata: dict[str, Any]) -> None:
    found = outcome({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}}, "init")
    assert (found.decision.reason, found.operations) == (Reason.NO_NETWORKS, ())


@pytest.mark.parametrize(
    "metadata", [{}, {"annotations": None}, {"annotations": {}}, {"annotations": {"a": ""}}]
)
def test_the_status_is_written_whether_there_are_annotations_or_not(metadata: dict[str, Any]) -> None:
    pod = {"metadata": metadata, "spec": {}}
    operations = patch.injection(msgspec.convert(pod, Pod), patch.Agent({"name": "agent"}, "done"))
    assert applied(pod, operations)["metadata"]["annotations"] == {
        **(metadata.get("annotations") or {}),
        pod_keys.STATUS: "done",
    }


@pytest.mark.parametrize("key", ["a/b", "a~b", "~1", "~0", "~01", "a/~/b", "", "/", "é/~1", "-", "0"])
def test_pointers_reach_the_key_that_is_meant(key: str) -> None:
    document = {"annotations": {key: "old", "other": "kept"}}
    operation = {"op": "add", "path": patch.pointer("annotations", key), "value": "new"}
    assert applied(document, [operation]) == {"annotations": {key: "new", "other": "kept"}}


def test_every_one_of_our_keys_is_escaped_in_the_patch() -> None:
    pod = {"metadata": {"annotations": {**NETWORKS, "multus-eni.io": "x"}}, "spec": {"containers": []}}
    paths = [operation["path"] for operation in outcome(pod, "sidecar").operations]
    assert "/metadata/annotations/multus-eni.io~1status" in paths


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "resources",
    [
        {"requests": {"cpu": "1", "memory": "1Gi"}},
        {"limits": {"cpu": "1", "memory": "1Gi"}},
        {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}},
    ],
)
def test_beside_pod_level_resources_the_agent_has_none(mode: str, resources: dict[str, Any]) -> None:
    pod = {
        "metadata": {"annotations": dict(NETWORKS)},
        "spec": {
            "containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
                {"name": "b"},
            ],
            "resources": resources,
        },
    }
    result = applied(pod, outcome(pod, mode).operations)
    assert "resources" not in result["spec"]["initContainers"][0]
    assert result["spec"]["resources"] == resources


class Literal(str):
    """A number as it is written, so that 1.50, 15e-1 and 1.5 are three values."""

    __slots__ = ()


DISTINCTIVE = """
{
  "metadata": {
    "managedFields": [{"fieldsV1": {"f:metadata": {".": {}, "f:annotations": {}}}}],
    "annotations": {
      "z/last~first": "kept", "multus-eni.io~1status": "not ours", "": "no key", "-": "dash", "0": "digit",
      "k8s.v1.cni.cncf.io/networks": "net", "a": "\\u00e9\\u2028\\ud83d\\ude00\\u0000<>&\\/", "A": "other"
    },
    "unknown": null, "finalizers": [], "generation": 9007199254740993, "deletionGracePeriodSeconds": -0
  },
  "spec": {
    "zeta": {"b": 1, "a": 2, "nested": [[], {}, [null], {"": null}, false, true, ""]},
    "containers": [
      {"z": 1.50, "y": 15e-1, "x": 1E2, "w": 123456789012345678901234567890, "name": "app",
       "image": "i", "resources": {"limits": {"cpu": 1, "memory": "0.50Gi", "nvidia.com/gpu": 1.0}},
       "restartPolicy": null, "futureField": {"restartPolicyRules": [{"action": "Restart"}]}},
      {"name": "second", "resizePolicy": [], "env": [{"name": "B"}, {"name": "A", "value": " \\t\\n"}]}
    ],
    "initContainers": [
      {"restartPolicy": "Always", "name": "mesh", "future": 0.10, "startupProbe": {"httpGet": {"port": "x"}}},
      {"name": "own", "args": ["{", "}", "\\"", "\\\\"]}
    ],
    "volumes": [{"name": "v", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {}}]}}],
    "imagePullSecrets": [{"name": "theirs", "future": []}], "tolerations": null, "priority": 0
  },
  "status": {}
}
"""


def parsed(text: str) -> Any:
    return json.loads(text, parse_int=Literal, parse_float=Literal, parse_constant=Literal)


def written(value: Any) -> str:
    """Write what `parsed` read: key order, numbers as they were, and all."""
    return json.dumps(value, ensure_ascii=True)


@pytest.mark.parametrize("mode", MODES)
def test_what_others_wrote_is_the_same_text_afterwards(mode: str) -> None:
    body = review({}, "apps").replace(b'"object": {}', b'"object": ' + DISTINCTIVE.encode())
    answer = json.loads(encoded_response("u", outcome(body, mode)))["response"]
    operations = json.loads(base64.b64decode(answer["patch"]))
    result = jsonpatch.JsonPatch(operations).apply(parsed(DISTINCTIVE))
    assert names(result["spec"]["initContainers"])[0] == CONTAINER_NAME
    del result["spec"]["initContainers"][0]
    assert result["spec"]["imagePullSecrets"].pop() == {"name": "ours"}
    for name in (RUN_VOLUME, "ca") if mode == "sidecar" else ("ca",):
        assert result["spec"]["volumes"].pop()["name"] == name
    assert json.loads(result["metadata"]["annotations"].pop(pod_keys.STATUS))["mode"] == mode
    assert written(result) == written(parsed(DISTINCTIVE))
