"""Generated pods through the real API server, as dry-run creates: none is refused because of the patch.

MULTUS_ENI_DRY_RUNS is how many (200), MULTUS_ENI_DRY_RUNS_SEED the seed of the first 2,000; each further
2,000 have the next one.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from common.agent_container import CONTAINER_NAME, RUN_VOLUME, TOKEN_VOLUME
from common.pod_keys import INJECTION, MODE, STATUS
from tests.cluster.api import ApiError, Manifest
from tests.cluster.namespaces import Namespace, Namespaces
from tests.webhook.valid_pods import valid_pods

pytestmark = pytest.mark.cluster

COUNT = int(os.environ.get("MULTUS_ENI_DRY_RUNS", "200"))
SEED = int(os.environ.get("MULTUS_ENI_DRY_RUNS_SEED", "1"))
BATCH = 2000
OURS = (RUN_VOLUME, TOKEN_VOLUME)
CLIENTS = 8


def generated(number: int, count: int) -> list[Manifest]:
    """Make this many pods from one seed."""
    made: list[Manifest] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(valid_pods())
    def collect(pod: Manifest) -> None:
        made.append(pod)

    collect()
    return made


def batches() -> Iterator[tuple[int, list[Manifest]]]:
    for batch, start in enumerate(range(0, COUNT, BATCH)):
        yield SEED + batch, generated(SEED + batch, min(BATCH, COUNT - start))


def opted_out(pod: Manifest) -> Manifest:
    """Return the pod with the label that leaves it alone."""
    metadata = {**pod["metadata"], "labels": {**pod["metadata"].get("labels", {}), INJECTION: "disabled"}}
    return {**pod, "metadata": metadata}


def without_agent(found: Manifest) -> Manifest:
    """Take out of a pod what was put in, and what differs between two creates of one pod."""
    spec, metadata = dict(found["spec"]), found["metadata"]
    spec["initContainers"] = [
        each for each in spec.get("initContainers", []) if each["name"] != CONTAINER_NAME
    ]
    spec["volumes"] = [volume for volume in spec.get("volumes", []) if volume["name"] not in OURS]
    annotations = {key: value for key, value in metadata["annotations"].items() if key != STATUS}
    return _without_token_names(
        {"spec": spec, "annotations": annotations, "qos": found["status"]["qosClass"]}
    )


def _without_token_names(found: Manifest) -> Manifest:
    # The ServiceAccount's token volume has a random name.
    names = [volume["name"] for volume in found["spec"]["volumes"]]
    text = json.dumps(found)
    for name in names:
        if name.startswith("kube-api-access-"):
            text = text.replace(name, "token")
    result: Manifest = json.loads(text)
    return result


def quality(pods: Namespace, pod: Manifest) -> str:
    """Create a pod without the agent and with it; return its QoS class if all is well."""
    try:
        alone = pods.create(opted_out(pod), dry_run=True).object
    except ApiError as error:
        pytest.fail(f"the generator made a pod that is no good: {error.message}\n{json.dumps(pod)}")
    try:
        injected = pods.create(pod, dry_run=True).object
    except ApiError as error:
        pytest.fail(f"refused with the agent: {error.message}\n{json.dumps(pod)}")
    names = [each["name"] for each in injected["spec"].get("initContainers", [])]
    expected, found = without_agent(alone), without_agent(injected)
    assert (names.index(CONTAINER_NAME), names.count(CONTAINER_NAME)) == (0, 1), pod
    assert found == expected, pod
    return str(found["qos"])


def test_generated_pods_are_admitted_and_otherwise_unchanged(namespaces: Namespaces) -> None:
    modes = [namespaces.make({INJECTION: "enabled", MODE: mode}) for mode in ("init", "sidecar")]
    seen: Counter[str] = Counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        for number, made in batches():
            print(f"MULTUS_ENI_DRY_RUNS_SEED={number}")
            targets = (modes[index % 2] for index in range(len(made)))
            seen.update(clients.map(quality, targets, made))
    assert seen.total() == COUNT
    assert len(seen) == 3, seen
