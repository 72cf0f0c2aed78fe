"""Pods for property tests: what the API server would store, with all that the injector reads varied."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import jsonpatch
from hypothesis import strategies as st

from common import pod_keys
from common.agent_settings import Mode
from webhook.core.inject import Outcome
from webhook.core.patch import Operation
from webhook.server.review import encode_outcome, with_uid

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
MILLICORES = st.sampled_from([1, 10, 20, 50, 100, 250, 500, 999, 1000, 1500, 2000, 4000, 64000])
MEBIBYTES = st.sampled_from([1, 16, 32, 64, 100, 128, 256, 1024, 65536])


@st.composite
def resources(draw: st.DrawFn) -> dict[str, Any]:
    """Requests and limits as the API server stores them: a request never above its limit."""
    made: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for name, amounts, unit in (("cpu", MILLICORES, "m"), ("memory", MEBIBYTES, "Mi")):
        low, high = sorted((draw(amounts), draw(amounts)))
        form = draw(st.sampled_from(["none", "request", "both", "equal", "limit"]))
        if form in ("both", "limit", "equal"):
            made["limits"][name] = f"{high}{unit}"
        if form in ("request", "both"):
            made["requests"][name] = f"{low}{unit}"
        if form == "equal":
            made["requests"][name] = f"{high}{unit}"
    return {kind: amounts for kind, amounts in made.items() if amounts}


@st.composite
def containers(draw: st.DrawFn, prefix: str, *, at_least: int) -> list[dict[str, Any]]:
    shared = draw(st.none() | resources())
    count = draw(st.integers(at_least, 4))
    made = []
    for index in range(count):
        container: dict[str, Any] = {"name": f"{prefix}{index}", "image": draw(NAMES)}
        # Guaranteed pods and those with equal containers are rare unless drawn on purpose.
        chosen = shared if shared is not None and draw(st.booleans()) else draw(st.none() | resources())
        if chosen:
            container["resources"] = chosen
        made.append(container)
    return made


@st.composite
def guaranteed(draw: st.DrawFn, prefix: str, *, at_least: int) -> list[dict[str, Any]]:
    count = draw(st.integers(at_least, 4))
    made = []
    for index in range(count):
        amounts = {"cpu": f"{draw(MILLICORES)}m", "memory": f"{draw(MEBIBYTES)}Mi"}
        made.append(
            {
                "name": f"{prefix}{index}",
                "image": draw(NAMES),
                "resources": {"requests": amounts, "limits": amounts},
            }
        )
    return made


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """A pod that opts in to nothing by itself and attaches to one network or more."""
    kind = draw(st.sampled_from([containers, containers, guaranteed]))
    spec: dict[str, Any] = {"containers": draw(kind("app", at_least=1))}
    if draw(st.booleans()):
        spec["initContainers"] = draw(kind("init", at_least=0))
        for container in spec["initContainers"]:
            if draw(st.booleans()):
                container["restartPolicy"] = "Always"
    if draw(st.booleans()):
        spec["volumes"] = [{"name": f"v{i}", "emptyDir": {}} for i in range(draw(st.integers(0, 2)))]
    if draw(st.integers(0, 9)) == 0:
        spec["resources"] = draw(resources())
    annotations = {pod_keys.NETWORKS: ",".join(draw(st.lists(NAMES, min_size=1, max_size=3)))}
    annotations[draw(NAMES) + "/~odd~1key"] = draw(st.text(max_size=5))
    if draw(st.booleans()):
        annotations[pod_keys.MODE] = draw(st.sampled_from(Mode)).value
    if draw(st.integers(0, 4)) == 0:
        annotations[pod_keys.AGENT_CPU] = draw(st.sampled_from(["10m", "200m", "0.5", "999m"]))
    metadata: dict[str, Any] = {"annotations": annotations}
    metadata[draw(st.sampled_from(["name", "generateName"]))] = draw(NAMES)
    if draw(st.booleans()):
        metadata["labels"] = {draw(NAMES): draw(NAMES)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def applied(pod: dict[str, Any], operations: Sequence[Operation]) -> dict[str, Any]:
    """Patch a pod as the API server does: by an RFC 6902 of somebody else's, through JSON."""
    patch = jsonpatch.JsonPatch.from_string(json.dumps(operations))
    result: Any = patch.apply(copy.deepcopy(pod))
    assert isinstance(result, dict)
    return result


def encoded_response(uid: str, outcome: Outcome) -> bytes:
    """Encode the AdmissionReview that answers one request."""
    return with_uid(uid, encode_outcome(outcome))
