"""The public samples in a namespace that is opted in: unchanged, but for their pods being on both nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.cluster.api import DEPLOYMENT, Manifest
from tests.cluster.manifests import EXAMPLES, SAMPLES
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story_fixtures import opted_in
from tests.cluster.nodes.story_release import Release

pytestmark = pytest.mark.cluster

NAMESPACE = "multus"
"""That of the samples and of our examples."""


def sample(name: str, example: str) -> Manifest:
    """Read one of the samples, or where they are not at hand ours, which says the same."""
    folder = os.environ.get(SAMPLES)
    path = Path(folder, name) if folder else EXAMPLES / example
    manifest: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return manifest


def on_all_nodes(deployment: Manifest) -> None:
    """Have the scheduler place no second pod on a node while another one has none.

    Of itself it prefers that, and does not promise it.
    """
    template = deployment["spec"]["template"]
    template["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": template["metadata"]["labels"]},
        }
    ]


def test_the_samples_pods_have_their_addresses_before_their_apps_start(
    cluster: Cluster, release: Release
) -> None:
    deployment = sample("busybox-deployment.yaml", "busybox-deployment.yaml")
    on_all_nodes(deployment)
    with opted_in(cluster, NAMESPACE) as story:
        before = story.ledger.held()
        assert story.apply(sample("multus-nad-wb.yaml", "nad-ipvlan.yaml"), deployment) == ()
        pods = story.wait_rolled_out(DEPLOYMENT, deployment["metadata"]["name"])

        assert len(pods) == 3
        assert {each.node for each in pods} == set(cluster.nodes)
        assert {each.mode for each in pods} == {release.mode}
        expected = story.expected(pods)
        assert len(expected) == 3
        # Nothing else was assigned, and nothing else was taken away.
        addresses = {address for _, address in expected}
        others = {(eni, address) for eni, address in before if address not in addresses}
        assert story.ledger.held() == others | expected
        made = story.ledger.assignments(since=story.began)
        assert {(each.eni, each.address) for each in made} == expected
        for pod in pods:
            started = story.started_at(pod.name, "busybox")
            for eni, address in story.expected([pod]):
                assert story.ledger.assigned(eni, address, since=story.began).at < started
