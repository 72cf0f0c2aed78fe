"""Pods that stay as they are: without Multus, with an agent already, and those created again."""

from __future__ import annotations

import pytest

from common.pod_keys import INJECTION, MODE, STATUS
from tests.cluster.manifests import hand_made_deployments, multus_pod, pod, pod_of
from tests.cluster.namespaces import Namespaces, mode_of
from tests.cluster.webhook import WebhookServer

pytestmark = pytest.mark.cluster

ENABLED = {INJECTION: "enabled"}
MODES = ("init", "sidecar")


def test_a_pod_without_multus_is_stored_as_it_was_sent(
    namespaces: Namespaces, webhook: WebhookServer
) -> None:
    namespace = namespaces.make(ENABLED)
    outside = namespaces.make()
    stored = namespace.create(pod("plain", labels=ENABLED)).object
    assert stored["spec"] == outside.create(pod("plain")).object["spec"]
    assert "annotations" not in stored["metadata"]
    assert webhook.reasons(namespace.name, "plain") == []


@pytest.mark.parametrize("kind", hand_made_deployments())
def test_an_agent_added_by_hand_is_left_alone(
    namespaces: Namespaces, webhook: WebhookServer, kind: str
) -> None:
    manifest = pod_of(hand_made_deployments()[kind])
    namespace = namespaces.make(ENABLED)
    outside = namespaces.make()
    stored = namespace.create(manifest).object
    assert stored["spec"] == outside.create(manifest).object["spec"]
    assert STATUS not in stored["metadata"]["annotations"]
    assert webhook.reasons(namespace.name, "app") == ["agent_present"]


@pytest.mark.parametrize("mode", MODES)
def test_creating_a_pod_again_gives_the_same(namespaces: Namespaces, mode: str) -> None:
    namespace = namespaces.make(ENABLED)
    manifest = multus_pod(annotations={MODE: mode})
    first = namespace.create(manifest).object
    second = namespace.create({**manifest, "metadata": {**manifest["metadata"], "name": "again"}}).object
    assert mode_of(first) == mode
    assert first["spec"] == second["spec"]


@pytest.mark.parametrize("mode", MODES)
def test_a_stored_pod_is_not_injected_twice(
    namespaces: Namespaces, webhook: WebhookServer, mode: str
) -> None:
    namespace = namespaces.make(ENABLED)
    stored = namespace.create(multus_pod(annotations={MODE: mode})).object
    metadata = {"name": "copy", "annotations": stored["metadata"]["annotations"]}
    copied = namespace.create({**stored, "metadata": metadata}).object
    assert copied["spec"] == stored["spec"]
    assert webhook.reasons(namespace.name, "app") == [f"inject_{mode}"]
    assert webhook.reasons(namespace.name, "copy") == ["already_injected"]
