"""The chart with the built images on real nodes."""

from __future__ import annotations

import pytest

from tests.cluster.api import DEPLOYMENT
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story_release import CERTS, WEBHOOK, Release

pytestmark = pytest.mark.cluster


def test_the_releases_pods_run_beside_each_other(cluster: Cluster, release: Release) -> None:
    webhook = release.story.wait_rolled_out(DEPLOYMENT, WEBHOOK)
    certs = release.story.wait_rolled_out(DEPLOYMENT, CERTS)
    assert {each.node for each in webhook} == set(cluster.nodes)
    assert (len(webhook), len(certs)) == (2, 1)


def test_the_charts_own_test_passes(release: Release) -> None:
    assert "Phase:          Succeeded" in release.test()
